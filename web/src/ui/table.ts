/** The scores of the windows as a table, for screen readers and for those who want the numbers. */
import type { Interval, Window } from "../engine/protocol";
import { byId } from "./dom";
import { clock } from "./timeline";

export interface Column {
  readonly name: string;
  readonly windows: readonly Window[];
}

/** Write the table. Without columns it is hidden. */
export function showTable(columns: readonly Column[]): void {
  const table = byId("numbers", HTMLTableElement);
  byId("numbers-box", HTMLElement).hidden = columns.length === 0;
  const head = row("th", ["Time", ...columns.flatMap(({ name }) => [name, "90% interval"])]);
  for (const cell of head.cells) cell.scope = "col";
  const count = Math.max(0, ...columns.map(({ windows }) => windows.length));
  const longest = columns.find(({ windows }) => windows.length === count)?.windows ?? [];
  const rows = longest.map(({ start, end }, i) => {
    const cells = columns.flatMap(({ windows }) => {
      const window = windows[i] as Window | undefined;
      return [window ? (window.score?.toFixed(2) ?? "silent") : "", describe(window?.interval ?? null)];
    });
    const line = row("td", cells);
    const time = document.createElement("th");
    time.scope = "row";
    time.textContent = `${clock(start)} to ${clock(end)}`;
    line.prepend(time);
    return line;
  });
  table.tHead!.replaceChildren(head);
  table.tBodies[0].replaceChildren(...rows);
}

export function describe(interval: Interval | null): string {
  return interval ? `${interval[0].toFixed(2)} to ${interval[1].toFixed(2)}` : "";
}

function row(kind: "th" | "td", texts: readonly string[]): HTMLTableRowElement {
  const line = document.createElement("tr");
  for (const text of texts) {
    const cell = document.createElement(kind);
    cell.textContent = text;
    line.append(cell);
  }
  return line;
}
