// Looks for a newer page, and puts it in this one's place.
let version = "";
setInterval(async () => {
  try {
    const now = await (await fetch("/version")).text();
    if (version && now !== version && !document.querySelector("dialog[open]")) {
      const page = new DOMParser().parseFromString(await (await fetch("/")).text(), "text/html");
      document.querySelector("main").replaceWith(page.querySelector("main"));
    }
    version = now;
    document.querySelector(".live").textContent = "live";
  } catch {
    document.querySelector(".live").textContent = "stopped";
  }
}, 2000);
