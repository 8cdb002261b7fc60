#!/bin/sh
# English prose out of Debian packages, to pretrain on without any other source: handbooks, manuals and books of software.
# Usage: debian_text.sh OUT.txt     (apt-get, dpkg-deb, awk; downloads 80 MB, installs nothing)
# A document is a page, with its paragraphs on lines of their own; a blank line ends it.
set -eu
out=${1:?usage: debian_text.sh OUT.txt}
packages="debian-handbook debian-policy debian-reference-en developers-reference git-doc libreoffice-help-en-us octave-doc \
    postgresql-doc-15 python3.11-doc r-doc-html rust-doc"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
(cd "$work" && apt-get download -q $packages >&2)
for deb in "$work"/*.deb; do
    dpkg-deb -x "$deb" "$work/files"
done

# Paragraphs of HTML pages, longer than a caption, without their marks.
html() {
    find "$work/files/$1" -name "${2:-*.html}" ! -name print.html -type f | LC_ALL=C sort | while read -r page; do
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

{
    html usr/share/doc/debian-handbook/html/en-US
    html usr/share/debian-reference '*.en.html'
    html usr/share/doc/debian-policy/policy.html
    html usr/share/developers-reference
    html usr/share/doc/git-doc
    html usr/share/libreoffice/help/en-US/text
    html usr/share/doc/octave
    html usr/share/doc/postgresql-doc-15/html
    html usr/share/doc/python3.11/html
    html usr/share/R/doc
    for book in book edition-guide embedded-book nomicon reference rust-by-example rustc rustdoc; do
        html "usr/share/doc/rust-doc/html/$book"
    done
} > "$work/text"
mv "$work/text" "$out"
