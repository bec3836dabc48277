# Installs the mcpgate client from a proxy on Windows, for this user: into %LOCALAPPDATA%\Programs\mcpgate, which is added
# to the user's PATH. MCPGATE_PREFIX (environment) names another directory, and then PATH stays as it is.
#
# Nothing runs before the last line has come. What is installed was checked before it took its name.

function Install-Mcpgate {
    Set-StrictMode -Version 2
    $ErrorActionPreference = 'Stop'

    # Written in by the proxy.
    $version = '@VERSION@'
    $baseUrl = '@BASE_URL@'
    $keyPin = '@KEY_PIN@'

    $name = 'mcpgate-windows-x64.exe' # Windows on ARM runs it too
    if (-not [Environment]::Is64BitOperatingSystem) { throw 'mcpgate: error: there is no program for 32-bit Windows' }
    # Windows PowerShell 5.1 on older systems offers less unless told
    [Net.ServicePointManager]::SecurityProtocol = [Net.ServicePointManager]::SecurityProtocol -bor [Net.SecurityProtocolType]::Tls12

    # A proxy with a CA of its own, which no host knows, is known by its key. Compiled, because TLS calls back from threads
    # that can't run PowerShell.
    if ($keyPin -ne '' -and -not ('McpgatePin' -as [type])) {
        Add-Type -TypeDefinition @'
using System;
using System.Net.Security;
using System.Security.Cryptography;
using System.Security.Cryptography.X509Certificates;

public sealed class McpgatePin
{
    // SubjectPublicKeyInfo of a P-256 key up to the point itself (RFC 5480), the only kind that a proxy makes.
    static readonly byte[] Head = {
        0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01,
        0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00
    };

    readonly string pin;

    McpgatePin(string pin) { this.pin = pin; }

    public static RemoteCertificateValidationCallback For(string pin) { return new McpgatePin(pin).Check; }

    bool Check(object sender, X509Certificate certificate, X509Chain chain, SslPolicyErrors errors)
    {
        if (certificate == null || certificate.GetKeyAlgorithm() != "1.2.840.10045.2.1") return false;
        byte[] point = certificate.GetPublicKey();
        if (point.Length != 65) return false;
        byte[] info = new byte[Head.Length + point.Length];
        Head.CopyTo(info, 0);
        point.CopyTo(info, Head.Length);
        using (SHA256 sha256 = SHA256.Create())
        {
            return "sha256//" + Convert.ToBase64String(sha256.ComputeHash(info)) == pin;
        }
    }
}
'@
    }

    # $To: a stream
    function Receive($path, $to) {
        $request = [Net.WebRequest]::CreateHttp($baseUrl + $path)
        $request.AllowAutoRedirect = $false
        $request.KeepAlive = $false # no connection that something else has opened, and checked otherwise
        $request.Timeout = 60000
        $request.ReadWriteTimeout = 60000
        if ($keyPin -ne '') { $request.ServerCertificateValidationCallback = [McpgatePin]::For($keyPin) }
        $response = $request.GetResponse()
        try {
            if ([int]$response.StatusCode -ne 200) { throw "$baseUrl$path was answered with $([int]$response.StatusCode)" }
            $response.GetResponseStream().CopyTo($to)
        } finally {
            $response.Dispose()
        }
    }

    $text = New-Object IO.MemoryStream
    Receive '/downloads/SHA256SUMS' $text
    $sum = ''
    foreach ($line in [Text.Encoding]::ASCII.GetString($text.ToArray()).Split("`n")) {
        if ($line -cmatch '^([0-9a-f]{64})  (\S+)$' -and $Matches[2] -ceq $name) { $sum = $Matches[1] }
    }
    if ($sum -eq '') {
        throw "mcpgate: error: this proxy does not offer $name; its admin puts that file into proxy_service.downloads_dir"
    }

    $directory = $env:MCPGATE_PREFIX
    $ownPath = -not $directory
    if ($ownPath) { $directory = Join-Path $env:LOCALAPPDATA 'Programs\mcpgate' }
    [void][IO.Directory]::CreateDirectory($directory)
    $target = Join-Path $directory 'mcpgate.exe'

    function Get-Sum($path) {
        $file = [IO.File]::OpenRead($path)
        $sha256 = [Security.Cryptography.SHA256]::Create()
        try {
            return [BitConverter]::ToString($sha256.ComputeHash($file)).Replace('-', '').ToLowerInvariant()
        } finally {
            $file.Dispose()
            $sha256.Dispose()
        }
    }

    if ((Test-Path -LiteralPath $target -PathType Leaf) -and (Get-Sum $target) -ceq $sum) {
        Write-Host "mcpgate: $target is up to date ($version)"
    } else {
        # In the directory of its final name: then the renaming is one step, and nobody sees half a program.
        $part = Join-Path $directory ".mcpgate.$([Guid]::NewGuid().ToString('N')).exe"
        try {
            for ($try = 1; ; $try++) {
                try {
                    $file = [IO.File]::Create($part)
                    try { Receive "/downloads/$name" $file } finally { $file.Dispose() }
                    break
                } catch {
                    if ($try -ge 5) { throw }
                    Start-Sleep -Seconds 2
                }
            }
            if ((Get-Sum $part) -cne $sum) {
                throw "mcpgate: error: what came is not what the proxy's SHA256SUMS says; nothing was changed; run this again"
            }
            $told = & $part version
            if ($LASTEXITCODE -ne 0) { throw "mcpgate: error: $name does not run here: $told" }
            # A program that runs can be renamed and not replaced; who still runs the old one keeps it until then.
            Get-ChildItem -LiteralPath $directory -Filter 'mcpgate.old-*.exe' | Remove-Item -Force -ErrorAction SilentlyContinue
            if (Test-Path -LiteralPath $target) {
                [IO.File]::Move($target, (Join-Path $directory "mcpgate.old-$([Guid]::NewGuid().ToString('N')).exe"))
            }
            [IO.File]::Move($part, $target)
            Write-Host "mcpgate: installed ${target}: $told"
        } finally {
            if (Test-Path -LiteralPath $part) { Remove-Item -LiteralPath $part -Force }
        }
    }

    if ($ownPath) {
        # As it is stored, with its %VARIABLES%
        $key = [Microsoft.Win32.Registry]::CurrentUser.OpenSubKey('Environment', $true)
        $path = [string]$key.GetValue('Path', '', [Microsoft.Win32.RegistryValueOptions]::DoNotExpandEnvironmentNames)
        if ($path.Split(';') -notcontains $directory) {
            $key.SetValue('Path', (@($path.TrimEnd(';'), $directory) -ne '') -join ';', [Microsoft.Win32.RegistryValueKind]::ExpandString)
            [Environment]::SetEnvironmentVariable('MCPGATE_INSTALL', $null, 'User') # tells the desktop that something changed
            Write-Host "mcpgate: $directory is in your PATH from the next terminal on"
        }
        $key.Dispose()
        if ($env:Path.Split(';') -notcontains $directory) { $env:Path = "$env:Path;$directory" }
    }
}

& { Install-Mcpgate }
