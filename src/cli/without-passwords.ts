/**
 * The text with the passwords of the URLs in it left out. No message of ours has one, but a URL may have
 * been typed where something else belongs, and then the message quotes it.
 */
export function withoutPasswords(text: string): string {
  return (
    text
      // One slash where the URL was taken for a path. A password may hold any sign, also another `@`.
      .replaceAll(/(\w:\/{1,2}[^\s/:@]*):\S*@/g, "$1:…@")
      .replaceAll(/([?&](?:password|sslpassword)=)[^\s&]*/g, "$1…")
  );
}
