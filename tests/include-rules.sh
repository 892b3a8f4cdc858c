#!/bin/bash
# SPDX-License-Identifier: ISC
# Which folder may include and call which. Data flows one way, and every module can be tested without the modules that use it. A
# module is a .c file with its .h; a call counts like an include.
. "${SRCDIR:-.}/tests/tap.sh"
build=$(cd "${BUILDDIR:-.}" && pwd) || bail "no build in ${BUILDDIR:-.}"
cd "${SRCDIR:-.}/src" || bail "no source in ${SRCDIR:-.}/src"

# FOLDER, then the folders whose headers its files may include, beside its own. The README draws the same table.
folders='
common
net                common
daemon             daemon/tcp daemon/udp daemon/admission daemon/stats daemon/conf daemon/os net common
daemon/tcp         daemon/admission daemon/stats net common
daemon/udp         daemon/admission daemon/stats net common
daemon/admission   daemon/stats daemon/conf common
daemon/stats       net common
daemon/conf        common
daemon/os          common
probe              net common
report             probe common
tools              tools/stream report probe common
tools/stream       probe net common
exporter           net common
'

# What only some may use: an extended regular expression, and the files that may.
reserved='
<(poll|sys/epoll|sys/select)\.h>                    net/loop.h common/log.c
\<(p?poll|p?select|epoll_[a-z0-9]+)\(               net/loop.c common/log.c daemon/stats/metrics.c
<confuse\.h>                                        common/conf_parse.c
<systemd/                                           daemon/os/service_manager.c
<seccomp\.h>                                        daemon/os/seccomp.c
<jansson\.h>                                        report/json.c
<(n?curses|term)\.h>                                report/graph.c
<microhttpd\.h>                                     exporter/http.c
\<(_?exit|_Exit|quick_exit|abort|errx?|verrx?)\(    daemon/main.c common/cli.c tools/check_echo.c
'

mapfile -t sources < <(find . -name '*.[ch]' | sed 's|^\./||' | sort)

allowed_of() { # FOLDER: its row; fails if there is none
    awk -v folder="$1" '$1 == folder { $1 = ""; print; found = 1 } END { exit !found }' <<<"$folders"
}

# Pairs "FILE FILE": the first includes the second, by its path.
includes() { grep -oHE '^[ \t]*#[ \t]*include[ \t]*"[^"]+"' "${sources[@]}" | sed -E 's/:.*"(.*)"/ \1/' | grep -v ' config\.h$'; }

check_folders() {
    local file header folder bad=0
    while read -r file header; do
        [ -e "$header" ] || { echo "$file includes $header, which is no path from src"; bad=1; continue; }
        folder=$(dirname "$file")
        case " $folder $(allowed_of "$folder") " in
        *" $(dirname "$header") "*) ;;
        *) echo "$file includes $header; its folder may use:$(allowed_of "$folder")"; bad=1 ;;
        esac
    done <<<"$included"
    return $bad
}

check_every_folder_has_a_row() {
    local folder bad=0
    while read -r folder; do
        allowed_of "$folder" >/dev/null || { echo "$folder is in no row of this test's table"; bad=1; }
    done < <(printf '%s\n' "${sources[@]}" | xargs -n1 dirname | sort -u)
    return $bad
}

# Lines "FOLDER NAME...", sorted: the table above, with the last part of each name; and what the README draws.
table_rows() { awk 'NF { row = $1; for (i = 2; i <= NF; i++) { sub(/.*\//, "", $i); row = row " " $i } print row }' <<<"$folders" | sort; }
readme_rows() {
    awk '/^    src\// { if (row) print row; row = $1; sub(/^src\//, "", row); sub(/\/$/, "", row)
                        row = row (sub(/.* -> /, "") ? " " $0 : ""); next }
         row && /^ +[a-z ]+$/ { sub(/^ +/, " "); row = row $0; next }
         row { print row; row = "" }' ../README | sort
}

check_readme() { diff <(table_rows) <(readme_rows); }

check_every_permission_is_used() {
    local folder uses use bad=0
    while read -r folder uses; do
        for use in $uses; do
            printf '%s\n' "$included" "$called" | awk -v a="$folder" -v b="$use" '
                function dir(path) { sub(/\/[^\/]*$/, "", path); return path }
                dir($1) == a && dir($2) == b { found = 1 } END { exit !found }' ||
                { echo "$folder may include $use, and does not"; bad=1; }
        done
    done < <(grep . <<<"$folders")
    return $bad
}

check_folder_size() {
    printf '%s\n' "${sources[@]}" | sed -E 's/(_stub)?\.[ch]$//' | sort -u | xargs -n1 dirname | sort | uniq -c |
        awk '$1 > 14 || $2 == "." { print $2 " has " $1 " modules, may have 14"; bad = 1 } END { exit bad }'
}

module_of() { sed -E 's/(_stub)?\.[cho]+( |$)/\2/g'; }

# What was built of src itself: the unit tests have copies beside it.
objects() { find "$build/src" -name '*.o' ! -name 'tests_unit_*'; }

# Pairs "OBJECT OBJECT": the first needs a symbol that the second defines.
calls() {
    objects | while read -r object; do
        nm -g "$object" | awk -v name="${object#"$build/src/"}" 'NF == 3 && $2 != "C" { print name, "def", $3 } NF == 2 { print name, "use", $2 }'
    done | awk '$2 == "def" { owner[$3] = $1 } $2 == "use" { use[++n] = $1; symbol[n] = $3 }
        END { for (i = 1; i <= n; i++) if (owner[symbol[i]] && owner[symbol[i]] != use[i]) print use[i], owner[symbol[i]] }' | sort -u
}

# tsort(1) names what a circle is made of.
acyclic() { # EDGES
    awk '$1 != $2' | sort -u | tsort 2>&1 >/dev/null | sed 's/^tsort: //' | grep . && return 1
    return 0
}

check_no_circles_of_modules() { module_of <<<"$included"$'\n'"$called" | acyclic; }

check_no_circles_of_folders() { printf '%s\n' "$included" "$called" | sed -E 's|/[^/ ]* | |; s|/[^/]*$||' | acyclic; }

# "FOLDER calls FOLDER" needs the same permission as an include.
check_calls() {
    local user owner folder bad=0
    while read -r user owner; do
        folder=$(dirname "$user")
        case " $folder $(allowed_of "$folder") " in
        *" $(dirname "$owner") "*) ;;
        *) echo "$user calls $owner; its folder may use:$(allowed_of "$folder")"; bad=1 ;;
        esac
    done <<<"$called"
    return $bad
}

# Pairs "HEADER NAME" of the functions and variables that headers declare.
declarations() {
    local header
    for header in $(printf '%s\n' "${sources[@]}" | grep '\.h$'); do
        "${CC:-cc}" -fpreprocessed -E -P -x c "$header" | tr '\n' ' ' | tr ';{}' '[\n*]' |
            grep -vE '^ *(typedef|struct [a-z_0-9]+$|static|return)' |
            sed -nE 's/^[^(]*[ *]([a-z_0-9]+)\(.*/\1/p; s/^ *extern [^(]*[ *]([a-z_0-9]+)$/\1/p' | sed "s|^|$header |"
    done
}

# Whoever includes X.h finds its functions in X.c.
check_headers() {
    local object module symbol header bad=0 declared
    declared=$(declarations)
    while read -r object symbol; do
        module=$(module_of <<<"$object")
        while read -r header; do
            [ "${header%.h}" = "$module" ] || { echo "$header declares $symbol, which ${module}.c defines"; bad=1; }
        done < <(awk -v symbol="$symbol" '$2 == symbol { print $1 }' <<<"$declared")
    done < <(objects | while read -r object; do
        nm -g "$object" | awk -v name="${object#"$build/src/"}" 'NF == 3 && $3 != "main" { print name, $3 }'
    done)
    return $bad
}

check_reserved() { # REGEX FILE...
    local regex=$1 file bad=0
    shift
    for file in "${sources[@]}"; do
        case " $* " in *" $file "*) continue ;; esac
        # The compiler strips comments, where a manual page may be named.
        "${CC:-cc}" -fpreprocessed -E -P -x c "$file" | grep -E -e "$regex" | sed "s|^|$file: |" | grep . && bad=1
    done
    return $bad
}

included=$(includes) called=$(calls)
ok "every folder has a row in this test's table" check_every_folder_has_a_row
ok "the README's drawing of the tree is this test's table" check_readme
ok "files include only what their folder may use" check_folders
ok "files call only what their folder may use" check_calls
ok "nothing is allowed that nobody uses" check_every_permission_is_used
ok "a folder has at most 14 modules, and src itself none" check_folder_size
ok "no circle of folders" check_no_circles_of_folders
ok "no circle of modules" check_no_circles_of_modules
ok "what a header declares is defined in its own .c file" check_headers
while read -r regex files; do
    [ -n "$regex" ] || continue
    # shellcheck disable=SC2086
    ok "only $files: $regex" check_reserved "$regex" $files
done <<<"$reserved"
done_testing
