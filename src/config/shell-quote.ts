/** Text as one word of a shell or of PowerShell, whatever is in it. */

/** For sh and its kin, zsh among them (POSIX, 2.2.2). The text has no NUL, which no argument can hold. */
export const shellQuote = (text: string): string => `'${text.replaceAll("'", "'\\''")}'`;

/** For PowerShell, to which typographic single quotes are single quotes too (about_Quoting_Rules). */
export const powershellQuote = (text: string): string => `'${text.replace(/['‘’‚‛]/g, "$&$&")}'`;
