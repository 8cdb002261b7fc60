# labelled.awk: labelled examples whose answers follow from their words: -v seed=N -v n=EXAMPLES -v out=FOLDER.
#   sent.tsv     polarity of an adjective, with negation          value.tsv    good words less bad ones
#   multi.jsonl  two labels, each by words of its own             ner.conll    templates over small gazetteers, B and I tags
#   pair.tsv     is the second text about the same thing          qa.json      a town or a firm, three in ten without an answer
#   chat.jsonl   sums as prompt and response
function pick(list,    n, a) { n = split(list, a); return a[int(rand() * n) + 1] }
function name() { return pick(first) (rand() < 0.5 ? " " pick(last) : "") }
function tag(text, type,    n, a, i) { n = split(text, a); for (i = 1; i <= n; i++) print a[i] "\t" (i == 1 ? "B-" : "I-") type > ner }
function plain(text,    n, a, i) { n = split(text, a); for (i = 1; i <= n; i++) print a[i] "\tO" > ner }
function quoted(s) { return "\"" s "\"" }
function sentiment(    p, no) {
  p = rand() < 0.5; no = rand() < 0.4
  print (p != no ? "pos" : "neg") "\tthe " pick(thing) " was " (no ? "not " : "") (p ? pick(good) : pick(bad)) " in " pick(town) > out "/sent.tsv"
}
function value(    v, t, k) {
  v = 0; t = "the " pick(thing) " was"
  for (k = 0; k < 4; k++) if (rand() < 0.5) { t = t " " pick(good); v++ } else { t = t " " pick(bad); v-- }
  print v / 4 "\t" t > out "/value.tsv"
}
function several(    a, b) {
  a = rand() < 0.5; b = rand() < 0.5
  print "{\"text\": " quoted(pick(first) (a ? " likes a " pick(thing) : " waits") (b ? " in " pick(town) : " today")) ", \"labels\": [" (a ? quoted("art") : "") (a && b ? ", " : "") (b ? quoted("travel") : "") "]}" > out "/multi.jsonl"
}
function entities(    r) {
  r = int(rand() * 3)
  if (r == 0) { tag(name(), "PER"); plain("lives in"); tag(pick(town), "LOC") }
  if (r == 1) { tag(name(), "PER"); plain("works for"); tag(pick(firm), "ORG"); plain("in"); tag(pick(town), "LOC") }
  if (r == 2) { tag(pick(firm), "ORG"); plain("opens in"); tag(pick(town), "LOC"); plain(", says"); tag(name(), "PER") }
  plain("."); print "" > ner
}
function pair(    x, y) {
  x = y = pick(thing)
  if (rand() < 0.5) while (y == x) y = pick(thing)
  print "the " x " was " pick(good) "\tthe " y "\t" (x == y ? "same" : "other") > out "/pair.tsv"
}
function answer(i,    who, t, w, none, asks, text) {
  who = pick(first); t = pick(town); w = pick(firm); none = rand() < 0.3; asks = rand() < 0.5
  text = none ? who " likes a " pick(thing) " ." : who " works for " w " in " t " ."
  return "{\"context\": " quoted(text) ", \"qas\": [{\"id\": \"q" i "\", \"question\": " quoted(asks ? "which town ?" : "which firm ?") ", \"is_impossible\": " (none ? "true" : "false") ", \"answers\": [" (none ? "" : "{\"text\": " quoted(asks ? t : w) ", \"answer_start\": " index(text, asks ? t : w) - 1 "}") "]}]}"
}
function sum(    a, b) {
  a = int(rand() * 10); b = int(rand() * 10)
  print "{\"prompt\": " quoted(a " plus " b " is") ", \"response\": " quoted(" " a + b ".") "}" > out "/chat.jsonl"
}
BEGIN {
  srand(seed)
  first = "Anna Boris Clara David Emma Felix Greta Hugo Irene Jonas"
  last = "Adler Bauer Cohen Duval Evans Fischer"
  town = "Paris Berlin Madrid Vienna Oslo Lisbon Prague Dublin"
  firm = "Acme Globex Initech Umbrella Hooli"
  good = "good great lovely fine"; bad = "bad awful poor dull"
  thing = "film book meal song trip"
  ner = out "/ner.conll"; qa = out "/qa.json"
  for (i = 0; i < n; i++) { sentiment(); value(); several(); entities(); pair(); sum() }
  printf "{\"version\": \"v2.0\", \"data\": [{\"title\": \"t\", \"paragraphs\": [" > qa
  for (i = 0; i < n; i++) printf "%s%s", i ? ", " : "", answer(i) > qa
  print "]}]}" > qa
}
