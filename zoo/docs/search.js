// The search takes a query as one word up to the next blank. A Japanese one is cut where kanji and kana
// meet, as `zoo/docs/site.py` cuts the index.
const QUERY = 2; // the type of a message to the theme's worker
const KANA = "[\\p{Script=Hiragana}\\p{Script=Katakana}]";
const KANJI = "\\p{Script=Han}";
const seam = new RegExp(`(?<=${KANJI})(?=${KANA})|(?<=${KANA})(?=${KANJI})`, "gu");
const post = Worker.prototype.postMessage;

Worker.prototype.postMessage = function (message, ...rest) {
  const asks = message?.type === QUERY && typeof message.data === "string";
  return post.call(this, asks ? { ...message, data: message.data.replace(seam, " ") } : message, ...rest);
};
