#!/bin/sh
# Installs mcpgate from a proxy, and with a join token goes on to an agent that runs.
#
#   curl https://PROXY/scripts/install.sh | sudo bash
#   curl https://PROXY/scripts/install.sh | sudo bash -s -- --token=FILE
#
# Without root it installs for this user alone, into ~/.local/bin.
#
#   --token=FILE     a file with a join token; it is moved to /etc/mcpgate-token, and removed when the agent has joined.
#                    Writes /etc/mcpgate.yaml and the systemd unit where they are not there yet, and starts the agent
#   MCPGATE_PREFIX   environment: the program goes into its bin (/usr/local)
#   MCPGATE_ROOT     environment: stands for /, so that a test has all of it in a directory
#
# Nothing runs before the last line has come, so a script that was cut off does nothing. What is installed was
# checked before it took its name.
set -eu

# Written in by the proxy.
version='@VERSION@'
base_url='@BASE_URL@'
proxy_addr='@PROXY_ADDR@'
key_pin='@KEY_PIN@'
ca_pin='@CA_PIN@'

root=${MCPGATE_ROOT:-}
token=
part=

say() { printf 'mcpgate: %s\n' "$*" >&2; }

# fail MESSAGE [HINT]
fail() {
  printf 'mcpgate: error: %s\n' "$1" >&2
  if [ $# -gt 1 ]; then printf 'mcpgate: hint: %s\n' "$2" >&2; fi
  exit 1
}

have() { command -v "$1" >/dev/null 2>&1; }

main() {
  umask 022
  for arg in "$@"; do
    case $arg in
      --token=?*) token=${arg#--token=} ;;
      *)
        printf 'mcpgate: error: install.sh does not know %s\n' "$arg" >&2
        printf 'mcpgate: hint: it takes --token=FILE and nothing else\n' >&2
        exit 2
        ;;
    esac
  done

  find_platform
  find_tools
  bin=$(directory)
  target=$bin/mcpgate
  if [ -d "$target" ]; then fail "$target is a directory"; fi
  if [ -n "$token" ]; then may_enrol; fi

  trap 'if [ -n "$part" ]; then rm -f -- "$part"; fi' EXIT
  trap 'exit 129' HUP
  trap 'exit 130' INT
  trap 'exit 143' TERM

  if [ "$getter" = curl ] && [ -n "$key_pin" ]; then must_pin; fi
  install_program
  if [ -n "$token" ]; then enrol; else after_install; fi
}

# The name under which the proxy offers the program for this host.
find_platform() {
  system=$(uname -s)
  machine=$(uname -m)
  case $system in
    Linux) os=linux ;;
    Darwin)
      os=darwin
      # A shell under Rosetta says that the processor is Intel's.
      if [ "$(sysctl -n sysctl.proc_translated 2>/dev/null || echo 0)" = 1 ]; then machine=arm64; fi
      ;;
    MINGW* | MSYS* | CYGWIN*)
      fail "this script is for Linux and macOS" "in PowerShell, use $base_url/scripts/install.ps1"
      ;;
    *) fail "mcpgate has no program for $system" "it runs on Linux and macOS, and its client on Windows" ;;
  esac
  case $machine in
    x86_64 | amd64) cpu=x64 ;;
    aarch64 | arm64) cpu=arm64 ;;
    *) fail "mcpgate has no program for $system on $machine" "it runs on x86_64 and aarch64" ;;
  esac
  libc=
  if [ "$os" = linux ]; then
    if [ "$(getconf LONG_BIT 2>/dev/null || echo 64)" = 32 ]; then
      fail "mcpgate has no program for a 32-bit system"
    fi
    if is_musl; then libc=-musl; fi
  fi
  name=mcpgate-$os-$cpu$libc
}

# A host with glibc may have musl's loader too, so glibc is asked for first.
is_musl() {
  if getconf GNU_LIBC_VERSION >/dev/null 2>&1; then return 1; fi
  for loader in /lib/ld-musl-*; do
    if [ -e "$loader" ]; then return 0; fi
  done
  return 1
}

# What fetches and what sums. Only what can check whom it talks to may fetch: BusyBox's wget can't.
find_tools() {
  if have curl; then
    getter=curl
  elif have wget && wget --version 2>/dev/null | grep -q '^GNU Wget' &&
    { [ -z "$key_pin" ] || wget --help 2>/dev/null | grep -q -e --pinnedpubkey; }; then
    getter=wget
  else
    fail "this needs curl, or a GNU wget that can check the proxy's key" "install curl"
  fi
  for summer in sha256sum shasum openssl; do
    if have "$summer"; then return; fi
  done
  fail "nothing here computes a SHA-256 sum" "install sha256sum (coreutils), shasum or openssl"
}

# Where the program goes.
directory() {
  prefix=${MCPGATE_PREFIX:-}
  if [ -z "$prefix" ]; then
    prefix=/usr/local
    if [ "$(id -u)" -ne 0 ] && [ -z "$root" ]; then prefix=${HOME:?}/.local; fi
  fi
  case $prefix in
    /*) ;;
    *) fail "MCPGATE_PREFIX is not an absolute path: $prefix" ;;
  esac
  printf '%s\n' "$root$prefix/bin"
}

# Over TLS that is checked: by the proxy's key where it has a CA of its own, which no host knows (--insecure turns off
# only the check against the host's CAs; the key is checked before anything is sent). Else by those CAs, whatever
# somebody's .curlrc or .wgetrc says.
by_curl() {
  if [ -n "$key_pin" ]; then set -- --insecure --pinnedpubkey "$key_pin" "$@"; else set -- --no-insecure "$@"; fi
  curl --fail --silent --show-error --globoff --proto '=https' --tlsv1.2 --connect-timeout 20 \
    --speed-limit 1 --speed-time 60 "$@"
}

# Newer curls only warn where their TLS library can't pin keys (Rustls), and beside --insecure nothing would be checked
# then. So this one has to refuse the proxy under another key first.
must_pin() {
  another=sha256//AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
  if curl --silent --insecure --pinnedpubkey "$another" --proto '=https' --tlsv1.2 --connect-timeout 20 --max-time 60 \
    --globoff --output /dev/null "$base_url/"; then
    fail "this curl can't check the proxy's key: $(curl --version | head -n 1)" \
      "install a curl that was built with OpenSSL or GnuTLS"
  fi
}

by_wget() {
  if [ -n "$key_pin" ]; then
    set -- --no-check-certificate --pinnedpubkey="$key_pin" "$@"
  else
    set -- --check-certificate "$@"
  fi
  wget --no-verbose --max-redirect=0 --secure-protocol=TLSv1_2 --timeout=60 --tries=5 --waitretry=5 \
    --retry-connrefused --retry-on-http-error=429,503 "$@"
}

sum_of() {
  case $summer in
    sha256sum) sha256sum <"$1" ;;
    shasum) shasum -a 256 <"$1" ;;
    *) openssl dgst -sha256 -r <"$1" ;;
  esac | cut -c 1-64
}

# The sum that the proxy tells for $name, in $sum.
find_sum() {
  url=$base_url/downloads/SHA256SUMS
  if [ "$getter" = curl ]; then
    sums=$(by_curl --retry 5 "$url") || fail "can't get $url" "$(why_not)"
  else
    sums=$(by_wget -O - "$url") || fail "can't get $url" "$(why_not)"
  fi
  sum=
  while read -r hash file; do
    if [ "$file" = "$name" ]; then sum=$hash; fi
  done <<END
$sums
END
  if [ -z "$sum" ]; then
    fail "this proxy does not offer $name" \
      "its admin puts that file into proxy_service.downloads_dir (default: proxy/downloads in the data directory); npm run build:all makes it"
  fi
  case $sum in
    *[!0-9a-f]*) fail "the proxy told a sum that is none" ;;
  esac
  if [ ${#sum} -ne 64 ]; then fail "the proxy told a sum that is none"; fi
}

why_not() {
  if [ -n "$key_pin" ]; then
    echo "if its key is another one, get this script anew with the line that the proxy's admin gave you"
  else
    echo "curl -v $base_url/ shows what is wrong"
  fi
}

install_program() {
  find_sum
  changed=no
  if [ -f "$target" ] && [ -x "$target" ] && [ "$(sum_of "$target")" = "$sum" ]; then
    say "$target is up to date ($version)"
    return
  fi
  say "getting $name from $proxy_addr"
  # In the directory of its final name: then the renaming is one step, and nobody sees half a program.
  { mkdir -p -- "$bin" && part=$(mktemp "$bin/.mcpgate.XXXXXX"); } ||
    fail "can't write in $bin" "run this as root, or set MCPGATE_PREFIX"
  download
  if [ "$(sum_of "$part")" != "$sum" ]; then
    fail "what came is not what the proxy's SHA256SUMS says; nothing was changed" "run this again"
  fi
  chmod 755 "$part"
  if ! told=$("$part" version </dev/null 2>&1); then
    if [ "$libc" = -musl ]; then fail "$name does not run here: $told" "on Alpine it needs: apk add libstdc++ libgcc"; fi
    fail "$name does not run here: $told"
  fi
  sync "$part" 2>/dev/null || sync
  mv -f -- "$part" "$target"
  part=
  changed=yes
  say "installed $target: $told"
}

# Into $part. curl goes on where it stopped, as long as the proxy still has the same program (If-Range), and gives up
# after five tries in a row that brought nothing. Hosts that are set up together take turns, for ten minutes.
download() {
  url=$base_url/downloads/$name
  if [ "$getter" = wget ]; then
    by_wget -O "$part" "$url" || fail "can't get $url" "run this again"
    return
  fi
  tries=0
  turns=0
  size=0
  while :; do
    status=0
    code=$(by_curl --continue-at - --header "If-Range: \"$sum\"" --output "$part" --write-out '%{http_code}' "$url") ||
      status=$?
    case $status:$code in
      0:*) return ;;
      22:429 | 22:503)
        turns=$((turns + 1))
        if [ "$turns" -ge 60 ]; then fail "too many others get $name from $proxy_addr" "run this again"; fi
        sleep 10
        continue
        ;;
      33:*) : >"$part" ;; # another program by now
      5:* | 6:* | 7:* | 16:* | 18:* | 28:* | 35:* | 52:* | 55:* | 56:* | 92:*) ;;
      *) fail "can't get $url" "$(why_not)" ;;
    esac
    before=$size
    size=$(wc -c <"$part")
    if [ "$size" -gt "$before" ]; then tries=0; else tries=$((tries + 1)); fi
    if [ "$tries" -ge 5 ]; then fail "can't get $url" "run this again"; fi
    sleep 2
  done
}

after_install() {
  if [ -n "$root" ]; then return; fi
  found=$(command -v mcpgate || true)
  if [ "$found" != "$target" ]; then
    if [ -n "$found" ]; then
      say "but the shell finds $found first"
    else
      say "$bin is not in your PATH; for this shell: export PATH=\"$bin:\$PATH\""
    fi
  fi
  if [ "$changed" = no ] || [ "$(id -u)" -ne 0 ] || ! systemd_runs; then return; fi
  for service in mcpgate mcpgate-agent mcpgate-proxy; do
    if systemctl is-active --quiet "$service" &&
      systemctl show --property=ExecStart "$service" | grep -qF -- "path=$target ;"; then
      say "the service still runs the old program: systemctl restart $service"
    fi
  done
}

systemd_runs() { [ -d "$root/run/systemd/system" ] && have systemctl; }

# Before anything is changed: whether what --token=FILE asks for can be done.
may_enrol() {
  if [ "$(id -u)" -ne 0 ] && [ -z "$root" ]; then fail "--token sets up this host, which takes root" "pipe it into: sudo bash -s -- --token=$token"; fi
  config=$root/etc/mcpgate.yaml
  kept_token=$root/etc/mcpgate-token
  unit=$root/etc/systemd/system/mcpgate.service
  if [ ! -f "$token" ] || [ ! -s "$token" ]; then fail "there is no token in $token"; fi
  if [ -e "$config" ] && ! { grep -qF -- "$kept_token" "$config" && grep -qF -- "$proxy_addr" "$config"; }; then
    fail "$config is there already, and is not an agent's that joins $proxy_addr with $kept_token; it stays as it is" \
      "without --token this installs the program alone. For an agent beside what is there, give it a file and a unit of its own: mcpgate agent configure -o /etc/mcpgate-agent.yaml, mcpgate install systemd --config=/etc/mcpgate-agent.yaml -o /etc/systemd/system/mcpgate-agent.service"
  fi
  if [ -e "$unit" ] && ! grep -q 'agent start' "$unit"; then
    fail "$unit is there already, and does not start an agent; it stays as it is" \
      "move it: mv $unit $root/etc/systemd/system/mcpgate-proxy.service"
  fi
}

enrol() {
  mkdir -p -- "$root/etc"
  # A file of our own, then a renaming: whatever $token is a name or a link of, root alone can read the new one.
  part=$(umask 077 && mktemp "$root/etc/.mcpgate-token.XXXXXX")
  cat -- "$token" >"$part"
  rm -f -- "$token"
  mv -f -- "$part" "$kept_token"
  part=

  if [ -e "$config" ]; then
    say "$config is there already: it stays as it is"
  else
    set -- --proxy="$proxy_addr" --token="$kept_token"
    if [ -n "$ca_pin" ]; then set -- "$@" --ca-pin="$ca_pin"; fi
    "$target" agent configure "$@" -o "$config" </dev/null >&2
  fi

  if [ ! -d "$root/etc/systemd/system" ] && [ ! -d "$root/run/systemd/system" ]; then
    say "there is no systemd here; start the agent with: $target agent start --config=$config"
    return
  fi
  if [ -e "$unit" ]; then
    say "$unit is there already: it stays as it is"
  else
    mkdir -p -- "$root/etc/systemd/system"
    part=$(mktemp "$root/etc/systemd/system/.mcpgate.XXXXXX")
    "$target" install systemd --for=agent --config="$config" </dev/null >"$part"
    chmod 644 "$part"
    mv -f -- "$part" "$unit"
    part=
    say "$unit has been written"
  fi
  if ! systemd_runs; then
    say "systemd does not run here; start the agent later with: systemctl enable --now mcpgate"
    return
  fi
  systemctl daemon-reload
  # One that runs goes on with the old program otherwise.
  if [ "$changed" = yes ]; then systemctl try-restart mcpgate || true; fi
  if ! systemctl enable --now mcpgate; then
    journalctl -u mcpgate -n 4 --no-pager -o cat >&2 || true
    fail "the agent does not start" "journalctl -u mcpgate -n 20 says why; mcpgate doctor looks for it"
  fi
  case $("$target" agent status --config="$config" --format=json 2>/dev/null </dev/null) in
    *'"connected": true'*)
      # From now on it has a key of its own.
      rm -f -- "$kept_token"
      say "the agent runs, and is connected to $proxy_addr; its MCP servers stand in $config"
      ;;
    *) say "the agent runs, but is not connected to $proxy_addr yet: mcpgate agent status, journalctl -u mcpgate" ;;
  esac
}

{ main "$@"; }
