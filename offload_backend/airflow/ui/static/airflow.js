// The UI of Airflow around this page: its colours, and the ways back into it.

const TOKENS = [
  "fonts-body", "fonts-mono", "colors-bg", "colors-bg-subtle", "colors-bg-muted", "colors-bg-emphasized",
  "colors-bg-panel", "colors-fg", "colors-fg-muted", "colors-fg-subtle", "colors-border", "colors-border-emphasized",
  "colors-brand-solid", "colors-brand-contrast", "colors-brand-fg", "colors-brand-muted", "colors-fg-info",
].map((name) => `--chakra-${name}`);

/** The window of Airflow's UI, where this page is in a frame of it. */
function host() {
  try {
    return window.parent !== window && window.parent.location.origin === window.location.origin ? window.parent : null;
  } catch {
    return null;
  }
}

function follow(theme) {
  const root = document.documentElement;
  root.classList.toggle("dark", theme === "dark");
  const outer = host()?.document.documentElement;
  const style = outer && getComputedStyle(outer);
  for (const token of TOKENS) {
    const value = style?.getPropertyValue(token).trim();
    if (value) root.style.setProperty(token, value);
    else root.style.removeProperty(token);
  }
}

/** Light and dark as the UI around it, now and whenever that changes; alone, as it was chosen there, or the system. */
export function followTheme() {
  const system = window.matchMedia("(prefers-color-scheme: dark)");
  const outer = host()?.document.documentElement;
  const update = () => {
    if (outer) return follow(outer.classList.contains("dark") ? "dark" : "light");
    const chosen = localStorage.getItem("theme");
    return follow(chosen === "light" || chosen === "dark" ? chosen : system.matches ? "dark" : "light");
  };
  update();
  if (outer) new MutationObserver(update).observe(outer, { attributes: true, attributeFilter: ["class", "style"] });
  else {
    system.addEventListener("change", update);
    window.addEventListener("storage", update);
  }
}

/** Airflow's own address of a DAG, run, task or task instance, or of an asset. */
export function address({ dag_id, run_id, task_id, index, asset_id }) {
  const base = new URL("../", document.baseURI);
  if (asset_id !== undefined) return new URL(`assets/${asset_id}`, base).href;
  let path = `dags/${encodeURIComponent(dag_id)}`;
  if (run_id) path += `/runs/${encodeURIComponent(run_id)}`;
  if (task_id) path += `/tasks/${encodeURIComponent(task_id)}`;
  if (run_id && task_id && index >= 0) path += `/mapped/${index}`;
  return new URL(path, base).href;
}

/** Have Airflow's UI show its page. Its frame may not be left by a link, but Airflow's router can be told. */
export function open(event) {
  const outer = host();
  if (!outer || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
  event.preventDefault();
  const index = outer.history.state?.idx ?? 0;
  outer.history.pushState({ usr: null, key: crypto.randomUUID().slice(0, 8), idx: index + 1 }, "", event.currentTarget.href);
  outer.dispatchEvent(new PopStateEvent("popstate", { state: outer.history.state }));
}
