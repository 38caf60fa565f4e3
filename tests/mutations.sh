#!/usr/bin/env bash
# Breaks the filter on purpose, in one way after another, and says which tests notice.
# Fails if one goes unnoticed, or no longer changes anything. Takes about ten minutes.
#
#     tests/mutations.sh [WORD]     only those whose name has the word in it

set -euo pipefail
cd "$(dirname "$0")/.."

readonly copy=target/mutations/source
export CARGO_TARGET_DIR=$PWD/target/mutations/target
export KUBELET_MODEL_RUNS=${KUBELET_MODEL_RUNS:-1000} RUST_BACKTRACE=0

readonly container=src/filter/container.rs describe=src/filter/describe.rs filter=src/filter/mod.rs
readonly pods=src/filter/pods.rs reading=src/filter/reading.rs objects=src/source/objects.rs

# The name, the file, and what sed does to it.
mutations() {
    cat <<END
older statuses are taken in@$container@s/if !self.is_older(reading) {/if true {/
a start in the very second of the end confirms@$container@s/end.is_some_and(.end. end < start)/end.is_some_and(|end| end <= start)/
the count alone tells a start@$container@/|| instance.started_at.is_some_and(/d
the times alone tell a start@$container@s/instance.ordinal > Some(self.ordinal)\$/false/
settled kills are forgotten@$container@s/if kills.settled.contains(&kill) {/if false {/
one settled kill is remembered@$container@s/\[kill, self.settled\[0\]\]/[kill, 0]/
overwritten kills stay pending@$container@/confirm_overwritten(reading, background));/d
corrected reasons are ignored@$container@s/for end in reading.kills() {/for end in reading.kills().filter(|end| end.ordinal >= Some(before)) {/; s/outcome.unobserved = self.count(reading);/let before = self.ended; &/
history is told by the end of the kill@$container@s/let since = restarted.*/let since = ended;/
old kills are news when their Pod goes@$container@s/report_unrestarted \&\& !pending.is_old/report_unrestarted/
kills of Pods that are over stay pending@$container@s/if background.is_over() {/if false {/
unrestarted kills are always reported@$container@s/(report_unrestarted \&\& /(/
a lower number of ends is believed@$container@s/self.ended.max(reading.ended)/reading.ended/
137 is a kill@$reading@s/end.terminated.reason == "OOMKilled"/(end.terminated.exit_code == 137)/
a kill has 137@$reading@s/end.terminated.reason == "OOMKilled"/& \&\& end.terminated.exit_code == 137/
ends that were made up are believed@$reading@s/end.container_id.is_none() \&\& MADE_UP/false \&\& MADE_UP/
a start that failed is a start@$reading@s/!NEVER_RAN.contains(&end.reason.as_str())/true/
an end shown twice is two@$reading@s/one.container_id == other.container_id\$/false/
early starts are forgotten@$filter@/memory.starts.remember(/d
lookback is ignored@$filter@s/self.horizon.is_some_and(.*/false/
known Pods have a history@$filter@s/horizon: horizon.filter(|_| !known)/horizon/
own Events are not read back@$filter@/memory.reported.insert(event);/d
deleted Pods are kept@$filter@s/let gone = self.pods.gone(.*/let gone = [];/
Pods that a list doesn't show are kept@$pods@s/ \&\& seen.list != list/ \&\& false/
a list of one scope ends another@$pods@s/seen.scope == scope \&\& //
kills of Pods that are gone are forgotten@$filter@/memory.departed.extend(/d
a Pod is known by its UID alone@$filter@s/hash_one((namespace, name, event_uid))/hash_one(event_uid)/
containers are mixed up@$filter@s/self.hasher.hash_one(name).to_le_bytes()/self.hasher.hash_one(name.is_empty()).to_le_bytes()/
first ends are forgotten@$pods@s/u16::from(reading.ended > 0)/0/
containers that ended are remembered@$pods@s/if reading.is_clean() {/if reading.is_clean() \&\& reading.ended == 0 {/
Pods are forgotten without their containers@$pods@s/self.containers.remove(&pod).unwrap_or_default()/Box::default()/
a kill is known by its Pod, too@$describe@s/KillId::new(&\[id\])/KillId::new(\&[id, \&pod.metadata.uid])/
without an ID all kills are one@$describe@s/container, &finished_at\]/container]/
mirror pods are known by their own UID@$objects@s/self.metadata.annotations.mirror.as_deref().unwrap_or(&self.metadata.uid)/\&self.metadata.uid/
combined Events are trusted@$objects@s/ || self.message.starts_with(COMBINED)//
init containers are ignored@$objects@s/listed(ContainerList::Init, &self.status.init_container_statuses)/listed(ContainerList::Init, \&[])/
ephemeral containers are ordinary@$objects@s/Self::Ephemeral => ContainerKind::Ephemeral/Self::Ephemeral => ContainerKind::Container/
END
}

# Makes the copy what the work tree is. What is the same keeps its time, for cargo's sake.
git ls-files -z --cached --others --exclude-standard | while read -r -d '' file; do
    if ! cmp --quiet "$file" "$copy/$file"; then
        mkdir -p "$copy/$(dirname "$file")"
        cp "$file" "$copy/$file"
    fi
done

# Whether these tests fail.
noticed() {
    ! (cd "$copy" && cargo test --quiet --test tests -- "$1" >/dev/null 2>&1)
}

for tests in cases kubelet_model remembered; do
    if noticed "$tests"; then
        echo "the tests '$tests' fail as it is" >&2
        exit 1
    fi
done

unnoticed=0
while IFS=@ read -r name file change; do
    [[ $name == *"${1:-}"* ]] || continue
    sed -i "$change" "$copy/$file"
    if cmp --quiet "$file" "$copy/$file"; then
        by=" changes nothing: has $file changed?"
        unnoticed=$((unnoticed + 1))
    elif ! build=$(cd "$copy" && cargo test --quiet --test tests --no-run 2>&1); then
        by=" doesn't compile: $build"
        unnoticed=$((unnoticed + 1))
    else
        by=
        for tests in cases kubelet_model remembered; do
            if noticed "$tests"; then by+=" $tests"; fi
        done
        [[ $by ]] || unnoticed=$((unnoticed + 1))
    fi
    printf '%-50s%s\n' "$name" "${by:- NOT NOTICED}"
    cp "$file" "$copy/$file"
done < <(mutations)
exit $((unnoticed > 0))
