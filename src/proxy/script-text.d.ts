/** Scripts imported as text: the bundler puts them into the binary. */
declare module "*.sh" {
  const text: string;
  export default text;
}
declare module "*.ps1" {
  const text: string;
  export default text;
}
