# Sourced behind support_cli.sh: labelled data in train/ and val/, a tiny BERT in base/ that knows their words, a tiny GPT in writer/.
for part in train:1:1200 val:2:200; do
  IFS=: read -r folder seed count <<<"$part"
  mkdir $folder
  awk -v seed=$seed -v n=$count -v out=$folder -f "$source_dir/tests/support/labelled.awk"
done
{
  cut -f2 train/sent.tsv train/value.tsv && tr '\t' ' ' <train/pair.tsv && cut -d'"' -f4 train/multi.jsonl train/chat.jsonl
  awk 'NF { printf "%s ", $1 } !NF { print "" }' train/ner.conll
  grep -oE '"(context|question)": "[^"]*"' train/qa.json | cut -d'"' -f4
} >words.txt
cat >bert.yaml <<'YAML'
model: { type: bert, layers: 2, heads: 2, width: 64, context: 64, next: false, dropout: 0, attention_dropout: 0 }
data: { train: words.txt, val: 0, tokenizer: "wordpiece:400", length: 32, documents: line, objectives: [ { kind: sentences } ] }
train: { batch: 32, steps: 20, seed: 3, tensorboard: false }
optim: { lr: 2e-3, warmup: 10, schedule: linear }
exec: { threads: 2 }
amp: { policy: fp32 }
YAML
cat >gpt.yaml <<'YAML'
model: { layers: 2, heads: 2, width: 64, context: 64, dropout: 0 }
data: { train: words.txt, val: 0, tokenizer: byte }
train: { batch: 8, steps: 20, seed: 3, tensorboard: false }
optim: { lr: 2e-3, warmup: 10 }
exec: { threads: 2 }
amp: { policy: fp32 }
YAML
"$halfstep" pretrain bert.yaml --out base --quiet && "$halfstep" pretrain gpt.yaml --out writer --quiet || fail "nothing to fine-tune"
instead=
# finetune TASK FILE OUT ...: with settings that such models learn at.
finetune() {
  $instead "$halfstep" finetune "$1" --init_from base --data.train "train/$2" --data.val "val/$2" --out "$3" --dtype fp32 --threads 2 --optim.lr 1e-3 --data.length 32 "${@:4}"
}
# score RUN: of its best, as the run told it in stdout.txt (--json).
score() { grep '"event":"result"' stdout.txt | grep -oE '"score":[-+0-9.eE]+' | cut -d: -f2; }
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && a >= b) }'; }
