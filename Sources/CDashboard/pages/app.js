// The dashboard's frame: who is signed in, which page the address names, and how one page gives way to the next. Each page
// is a module that fills `main` and follows its data until its signal is aborted.
import { get, onRefused, useKey } from "./api.js";
import { problem } from "./dom.js";
import { tellTrouble } from "./live.js";
import campaign from "./campaign.js";
import campaigns from "./campaigns.js";
import compare from "./compare.js";
import { evaluation, evaluations } from "./evaluations.js";
import job from "./job.js";
import jobs from "./jobs.js";
import optimizers from "./optimizers.js";
import signIn from "./signin.js";
import workers from "./workers.js";

const pages = [
  { pattern: /^\/jobs$/, show: jobs, title: "Jobs" },
  { pattern: /^\/jobs\/(job_[a-z0-9]+)$/, show: job, title: "Job" },
  { pattern: /^\/compare$/, show: compare, title: "Compare jobs" },
  { pattern: /^\/campaigns$/, show: campaigns, title: "Campaigns" },
  { pattern: /^\/campaigns\/(cmp_[a-z0-9]+)$/, show: campaign, title: "Campaign" },
  { pattern: /^\/evaluations$/, show: evaluations, title: "Evaluations" },
  { pattern: /^\/evaluations\/(eval_[a-z0-9]+)$/, show: evaluation, title: "Evaluation" },
  { pattern: /^\/optimizers$/, show: optimizers, title: "Optimizers" },
  { pattern: /^\/workers$/, show: workers, title: "Workers" },
];

const main = document.getElementById("main");
const status = document.getElementById("status");
const navigation = document.getElementById("navigation");
const session = document.getElementById("session");
let isSignedIn = false;
let open = new AbortController();

/** Tells something in passing, to those who see and those who listen. */
function announce(text) {
  status.textContent = text;
}

function frame(capabilities) {
  isSignedIn = capabilities !== null;
  navigation.hidden = !isSignedIn;
  session.hidden = !isSignedIn;
  document.getElementById("version").textContent = isSignedIn ? `version ${capabilities.version}` : "";
}

function signOut(reason) {
  if (!isSignedIn) return;
  useKey(null);
  frame(null);
  show(reason);
}

/** Shows the page that the address names, or the sign-in in its place. */
async function show(reason = "") {
  open.abort();
  open = new AbortController();
  const { signal } = open;
  announce("");
  const isFirst = main.childElementCount === 0 || main.querySelector("noscript") !== null;
  main.replaceChildren();
  if (!isSignedIn) {
    document.title = "Sign in · Trainyard";
    signIn(main, {
      reason,
      accept: async (secret) => {
        const { body } = await get("/v1/capabilities", { secret });
        useKey(secret);
        frame(body);
        await show();
      },
    });
    return;
  }
  const [path, query = ""] = location.hash.slice(1).split("?");
  const page = pages.find(({ pattern }) => pattern.test(path));
  if (!page) {
    location.replace("#/jobs");
    return;
  }
  for (const link of navigation.querySelectorAll("a")) {
    if (path.startsWith(link.hash.slice(1))) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const title = (text) => { document.title = `${text} · Trainyard`; };
  title(page.title);
  const context = { main, signal, announce, title, query: new URLSearchParams(query), id: page.pattern.exec(path)[1] };
  try {
    const shown = page.show(context);
    if (!isFirst) main.querySelector("h1")?.focus({ preventScroll: true });
    window.scrollTo(0, 0);
    await shown;
  } catch (error) {
    if (!signal.aborted) main.append(problem(error));
  }
}

tellTrouble(announce);
onRefused(() => signOut("The server no longer takes this key."));
document.getElementById("sign-out").addEventListener("click", () => signOut(""));
document.getElementById("skip").addEventListener("click", (event) => {
  // The address names the page; it cannot name a place on it too.
  event.preventDefault();
  main.focus();
});
window.addEventListener("hashchange", () => show());
show();
