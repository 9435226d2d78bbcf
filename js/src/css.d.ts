declare module "*.css" {
  const text: string;
  export default text;
}

declare module "*/kernel.js" {
  const text: string;
  export default text;
}
