/**
 * What a host that has nothing yet asks for, and so without saying who it is:
 *
 *     GET /scripts/install.sh, /scripts/install.ps1    the installers, for this proxy
 *     GET /downloads/SHA256SUMS                        what is on offer
 *     GET /downloads/mcpgate-PLATFORM[.exe]            a program, whole or from some byte on
 */
import { Failure } from "../errors.ts";
import { Downloads, type DownloadsOptions, PROGRAM_NAMES } from "./downloads.ts";
import { Handout, type HandoutOptions } from "./handout.ts";
import { installPs1, installSh, type ScriptValues } from "./scripts.ts";

export interface InstallOptions extends DownloadsOptions, HandoutOptions, ScriptValues {}

export type InstallRoutes = (request: Request, remote: string) => Promise<Response> | undefined;

/** Answers undefined where the request is for something else. */
export function createInstallRoutes(options: InstallOptions): InstallRoutes {
  const downloads = new Downloads(options);
  const handout = new Handout(options);
  const texts: Record<string, () => string | Promise<string>> = {
    "/scripts/install.sh": () => installSh(options),
    "/scripts/install.ps1": () => installPs1(options),
    "/downloads/SHA256SUMS": () => downloads.sums(),
  };
  const programs = new Map(PROGRAM_NAMES.map((name) => [`/downloads/${name}`, name]));
  return (request, remote) => {
    if (request.method !== "GET" && request.method !== "HEAD") return undefined;
    const path = new URL(request.url).pathname;
    if (Object.hasOwn(texts, path)) return answerText(texts[path]);
    const name = programs.get(path);
    if (name === undefined) return undefined;
    return handout.answer(request, remote, () => downloads.open(name)).then((answer) => answer ?? notOffered(name));
  };
}

async function answerText(text: (() => string | Promise<string>) | undefined): Promise<Response> {
  const headers = {
    "content-type": "text/plain; charset=utf-8",
    "x-content-type-options": "nosniff",
    "cache-control": "no-cache",
  };
  return new Response(await text?.(), { headers });
}

function notOffered(name: string): Response {
  const error = new Failure("not_found", `this proxy does not offer ${name}`, {
    hint: "put it into proxy_service.downloads_dir; `npm run build:all` makes it",
  });
  return Response.json({ error }, { status: 404 });
}
