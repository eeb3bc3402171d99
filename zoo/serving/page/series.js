// Numbers that are pasted or read from a csv.

/**
 * Return {columns: {name: numbers}}, or {wrong: {line, value}} for what is not a number.
 *
 * Plain numbers are one column without a name. In a table every column that holds numbers only is
 * one; its first line may name them.
 */
export function parse(given) {
  const lines = given.split(/\r?\n/).map((line) => line.trim());
  const plain = given.split(/[\s,;]+/).filter(Boolean);
  const table = rows(lines.filter(Boolean));
  if (plain.every(isNumber) && !(table && table.width > 1)) return { columns: { "": plain.map(Number) } };
  if (table === null || table.width === 1) {
    const wrong = lines.findIndex((line, n) => line.split(/[\s,;]+/).filter(Boolean).some((v) => !isNumber(v)) && n > 0);
    const headed = wrong < 0 && lines.length > 1;
    if (headed) return { columns: { [lines[0]]: lines.slice(1).filter(Boolean).map(Number) } };
    const line = Math.max(wrong, 0);
    return { wrong: { line: line + 1, value: lines[line].split(/[\s,;]+/).find((v) => v && !isNumber(v)) ?? "" } };
  }
  return fromTable(table);
}

/**
 * Return a table with a heading as {names, rows, lines}, the cells as texts; null for what is none.
 *
 * `lines` are the numbers of the lines that the rows stand in.
 */
export function tableOf(given) {
  const lines = given.split(/\r?\n/);
  const filled = lines.map((line, n) => n).filter((n) => lines[n].trim());
  const table = rows(filled.map((n) => lines[n]));
  if (table === null) return null;
  const [names, ...body] = table.rows;
  return { names, rows: body, lines: filled.slice(1).map((n) => n + 1) };
}

/** Return the columns of a table that a model reads, by name: its own, or those that were chosen. */
export function places(table, columns, chosen) {
  const plain = (name) => name.trim().toLowerCase();
  const found = {};
  for (const name of rolesOf(columns).map(([each]) => each)) {
    const same = table.names.find((other) => other === name) ?? table.names.find((other) => plain(other) === plain(name));
    found[name] = table.names.includes(chosen[name]) ? chosen[name] : (same ?? null);
  }
  return found;
}

/** Return [name, role] of each column that a model reads, in its order. */
export const rolesOf = (columns) => ["target", "past", "future", "static"].flatMap((role) => columns[role].map((name) => [name, role]));

/**
 * Return {input} for the server: the past, what is known ahead, what is the same at all times.
 *
 * Rows behind the last one with all targets hold what is known ahead. {wrong: {line, value}} is a
 * cell that is no number.
 */
export function inputOf(table, columns, chosen) {
  const at = places(table, columns, chosen);
  const cells = (row, names) => names.map((name) => row[table.names.indexOf(at[name])]);
  const varying = [...columns.target, ...columns.past, ...columns.future];
  const isLast = (row) => cells(row, columns.target).every(isNumber);
  const end = table.rows.findLastIndex(isLast) + 1;
  const input = { past: [] };
  const ahead = [];
  const unknown = columns.target.length + columns.past.length;
  for (const [n, row] of table.rows.entries()) {
    const read = n < end ? cells(row, varying) : cells(row, columns.future);
    const wrong = read.find((cell) => !isNumber(cell));
    if (wrong !== undefined) return { wrong: { line: table.lines[n], value: wrong } };
    if (n < end) input.past.push(read.map(Number));
    else if (read.length) ahead.push([...Array(unknown).fill(null), ...read.map(Number)]);
  }
  if (columns.future.length) input.future = ahead;
  if (columns.static.length) {
    const read = cells(table.rows[0] ?? [], columns.static);
    const wrong = read.find((cell) => !isNumber(cell ?? ""));
    if (wrong !== undefined || !table.rows.length) return { wrong: { line: 2, value: wrong ?? "" } };
    input.static = read.map(Number);
  }
  return { input };
}

const isNumber = (value) => value !== "" && Number.isFinite(Number(value));

/** Return the rows of a table with the separator that splits all lines alike, or null. */
function rows(lines) {
  for (const separator of ["\t", ";", ","]) {
    const split = lines.map((line) => line.split(separator).map((cell) => cell.trim().replace(/^"(.*)"$/, "$1")));
    const width = split[0]?.length ?? 0;
    if (width > 1 && lines.length > 1 && split.every((row) => row.length === width)) {
      const comma = separator !== ",";
      return { width, rows: split.map((row) => (comma ? row.map(decimal) : row)) };
    }
  }
  return null;
}

/** Return a decimal comma as a point. */
const decimal = (cell) => (/^[-+]?\d+,\d+$/.test(cell) ? cell.replace(",", ".") : cell);

function fromTable(table) {
  const [first, ...rest] = table.rows;
  const named = first.some((cell) => !isNumber(cell));
  const body = named ? rest : table.rows;
  const columns = {};
  let wrong = null;
  for (let n = 0; n < table.width; n += 1) {
    const cells = body.map((row) => row[n]);
    if (cells.every(isNumber)) columns[named ? first[n] : String(n + 1)] = cells.map(Number);
    else if (cells.filter(isNumber).length * 2 > cells.length) {
      const row = cells.findIndex((cell) => !isNumber(cell));
      wrong = { line: row + 1 + Number(named), value: cells[row] };
    }
  }
  if (Object.keys(columns).length) return { columns };
  return { wrong: wrong ?? { line: 1, value: first[first.length - 1] } };
}
