/** A text as one YAML scalar, in block and in flow style: plain where every reader takes it for that text, else in quotes. */
export function yamlText(text: string): string {
  const plain = /^[A-Za-z_/][\w./@+-]*([: ][\w./@+-]+)*$/.test(text) && !WORDS.test(text);
  // JSON's strings are YAML's double-quoted ones (YAML 1.2, section 1.3); U+0085 and the like only need an escape more.
  return plain
    ? text
    : JSON.stringify(text).replace(/[\u007f-\u009f\u2028\u2029\ufeff]/g, (c) => {
        return `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`;
      });
}

/** What YAML 1.1 or 1.2 takes for something else than a text. */
const WORDS = /^(true|false|yes|no|on|off|y|n|null)$/i;
