/**
 * An element that Monaco may treat as its `<style>`: what is written into it goes to a constructed style sheet, which
 * the content security policy allows where it forbids inline styles.
 */
export function styleElement(): HTMLStyleElement {
  const sheet = new CSSStyleSheet();
  const element = document.createElement('template') as unknown as HTMLStyleElement;
  let text = '';
  const content: PropertyDescriptor = {
    get: () => text,
    set: (css: string) => {
      text = css;
      sheet.replaceSync(css);
    },
  };
  Object.defineProperties(element, {
    textContent: content,
    innerText: content,
    sheet: { value: sheet },
    remove: {
      value: () => {
        document.adoptedStyleSheets = document.adoptedStyleSheets.filter((other) => other !== sheet);
        Element.prototype.remove.call(element);
      },
    },
  });
  document.adoptedStyleSheets.push(sheet);
  return element;
}
