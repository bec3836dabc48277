/** The package brings no types. */
declare module "parse-prometheus-text-format" {
  export interface Family {
    name: string;
    help: string;
    type: "COUNTER" | "GAUGE" | "HISTOGRAM" | "SUMMARY" | "UNTYPED";
    metrics: { labels?: Record<string, string>; value?: string; buckets?: Record<string, string>; count?: string }[];
  }
  /** Throws at a line that is none. */
  export default function parsePrometheusTextFormat(text: string): Family[];
}
