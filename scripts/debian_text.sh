#!/bin/sh
# English prose out of Debian packages, to pretrain on without any other source: handbooks, manuals, a dictionary, WordNet's glosses.
# Usage: debian_text.sh OUT.txt     (apt-get, dpkg-deb, awk, gzip; downloads 60 MB, installs nothing)
# A document is a page or some entries, with its paragraphs on lines of their own; a blank line ends it.
set -eu
out=${1:?usage: debian_text.sh OUT.txt}
packages="debian-handbook debian-reference-en dict-gcide libreoffice-help-en-us postgresql-doc-15 wordnet-base"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
(cd "$work" && apt-get download -q $packages >&2)
for deb in "$work"/*.deb; do
    dpkg-deb -x "$deb" "$work/files"
done

# Paragraphs of HTML pages, longer than a caption, without their marks.
html() {
    find "$work/files/$1" -name "${2:-*.html}" -type f | LC_ALL=C sort | while read -r page; do
        tr '\n\r\t' '   ' < "$page" | LC_ALL=C awk '
            {
                n = split($0, part, /<p( [^>]*)?>/)
                for (i = 2; i <= n; i++) {
                    text = part[i]
                    sub(/<\/p>.*/, "", text)
                    gsub(/<[^>]*>/, "", text)
                    gsub(/&nbsp;|&#160;|\302\240/, " ", text); gsub(/&lt;/, "<", text); gsub(/&gt;/, ">", text)
                    gsub(/&quot;/, "\"", text); gsub(/&#39;|&apos;/, "\047", text); gsub(/&amp;/, "\\&", text)
                    gsub(/  +/, " ", text); sub(/^ /, "", text); sub(/ $/, "", text)
                    if (length(text) > 60) { print text; found = 1 }
                }
            }
            END { if (found) print "" }'
    done
}

# Entries of a dictd file, ten a document: their indented lines joined, without the source marks.
dictionary() {
    gzip -dc < "$work/files/$1" | iconv -f UTF-8 -t UTF-8 -c | LC_ALL=C awk '
        function flush() { sub(/^ /, "", text); if (length(text) > 60) { print text; found = 1 } text = "" }
        /^[^ ]/ { flush(); if (found && ++n % 10 == 0) print ""; found = 0; next }
        /^ *\[[^]]*\] *$/ || /^ *$/ { flush(); next }
        { gsub(/[{}]/, ""); gsub(/ *\[[^]]*\]/, ""); gsub(/  +/, " "); sub(/^ /, ""); sub(/^[0-9]+\. /, ""); text = text " " $0 }
        END { flush() }'
}

# Glosses, twenty a document: neighbours are kin.
glosses() {
    LC_ALL=C awk -F' [|] ' 'NF > 1 { sub(/ +$/, "", $2); print $2; if (++n % 20 == 0) print "" }' "$work/files/$1"/data.*
    echo
}

{
    html usr/share/doc/debian-handbook/html/en-US
    html usr/share/debian-reference '*.en.html'
    html usr/share/libreoffice/help/en-US/text
    html usr/share/doc/postgresql-doc-15/html
    glosses usr/share/wordnet
    dictionary usr/share/dictd/gcide.dict.dz
} > "$work/text"
mv "$work/text" "$out"
echo "$out: $(wc -c < "$out") bytes, $(grep -c '^$' "$out") documents" >&2
