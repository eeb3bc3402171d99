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
