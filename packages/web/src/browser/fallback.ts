/**
 * The one inline script: of the page that a gateway keeps as a static file, where no server is there to send another. It asks again
 * after half to one and a half times the wait that the page names, so that a crowd does not come back as one.
 */
const asked = document.querySelector<HTMLMetaElement>('[name=retry-after]');
setTimeout(() => location.reload(), Number(asked?.content ?? 15) * (500 + Math.random() * 1000));
