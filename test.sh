#!/usr/bin/env bash
# Everything that must hold before a change goes in, on a machine with Rust and a C compiler. What needs more (openssl,
# cargo-fuzz, typos) is fetched if it can be, or skipped out loud. HSM_SKIP_FUZZ=1 leaves the fuzz targets out.
set -euo pipefail
cd "$(dirname "$0")"

step() { printf '\n==> %s\n' "$*"; }
skip() { printf 'skipped: %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

command -v cargo >/dev/null || die "cargo is missing: install Rust 1.95 or newer, https://rustup.rs"
command -v "${CC:-cc}" >/dev/null || die "a C compiler is missing (cc): the cryptography and SQLite are built from C"

# From cold, incremental files cost time and disk and are of no use.
export CARGO_INCREMENTAL="${CARGO_INCREMENTAL:-0}"
# As in the bench profile, so that the benchmarks and the quickstart share one build of everything.
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# All but `fips`, which needs Go and CMake to build.
features=(--features hsm-client/full,hsm-client/rust-crypto,hsm-testkit/vectors)

step "format"
cargo fmt --all --check
cargo fmt --manifest-path fuzz/Cargo.toml --check

step "lints"
cargo clippy --workspace --all-targets "${features[@]}" -- -D warnings

step "the software device in pure Rust: no C compiler, and no crate that asks for one"
for provider in "" rust-crypto; do
    CC=/bin/false CXX=/bin/false cargo clippy -p hsm-backend-soft --no-default-features --features "$provider" -- -D warnings
done
c_crates=$(cargo tree -p hsm-backend-soft --no-default-features --features rust-crypto -e normal,build,dev --prefix none |
    grep -E '^(aws-lc|cc|cmake|ring)' || true)
[[ -z $c_crates ]] || die "built from C: $c_crates"
CC=/bin/false CXX=/bin/false cargo test -p hsm-backend-soft --no-default-features --features rust-crypto --test rust_crypto conformance

step "documentation"
RUSTDOCFLAGS='-D warnings' cargo doc --workspace --no-deps "${features[@]}"

step "documentation as docs.rs has it: with the feature that each item needs"
# Only rustdoc is told that it is a nightly: nothing is compiled anew.
printf '#!/bin/sh\nRUSTC_BOOTSTRAP=1 exec rustdoc "$@"\n' >"$work/rustdoc"
chmod +x "$work/rustdoc"
RUSTDOC="$work/rustdoc" RUSTDOCFLAGS='--cfg docsrs -D warnings' cargo doc --workspace --no-deps "${features[@]}"
doc=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/doc
for item in x509/struct.CertificateAuthority.html tls/struct.Acceptor.html jose/struct.Issuer.html struct.TpmSeal.html; do
    grep -q 'Available on <strong>crate feature' "$doc/hsm_client/$item" || die "no badge on $item"
done

step "the oldest Rust that is promised"
oldest=$(sed -n 's/^rust-version = "\(.*\)"$/\1/p' Cargo.toml)
if [[ $(rustc --version) == "rustc $oldest."* ]]; then
    printf 'Rust %s: everything here runs with it\n' "$oldest"
elif cargo "+$oldest" --version >/dev/null 2>&1; then
    cargo "+$oldest" check --workspace "${features[@]}"
else
    skip "Rust $oldest is not installed; nothing shows that it is enough"
fi

step "spelling"
typos=$(command -v typos || true)
if [[ -z $typos ]] && python3 -m pip install --quiet --target "$work/typos" typos >/dev/null 2>&1; then
    typos="$work/typos/bin/typos"
fi
if [[ -n $typos ]]; then
    "$typos"
else
    skip "typos is not installed, and pip cannot get it"
fi

step "quickstart, and openssl takes its signature"
cargo build --release -p hsm-examples --bin quickstart
quickstart=$(cargo metadata --no-deps --format-version 1 | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')/release/quickstart
cp README.md "$work/"
(cd "$work" && "$quickstart" README.md)
if ! command -v openssl >/dev/null && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    { apt-get update && apt-get install -y openssl; } >/dev/null 2>&1 || true
fi
if command -v openssl >/dev/null; then
    (cd "$work" && openssl dgst -sha384 -verify signing-key.pem -signature file.sig README.md)
else
    skip "openssl is not installed"
fi

step "timing of refusals, a short look"
cargo run --release -p hsm-examples --bin timing -- --samples 1000 --logins 20

step "fuzz targets, ten seconds each"
fuzz=no
if [[ -n ${HSM_SKIP_FUZZ:-} ]]; then
    skip "HSM_SKIP_FUZZ is set"
elif ! command -v c++ >/dev/null; then
    skip "libFuzzer is built from C++, and there is no c++"
elif cargo fuzz --version >/dev/null 2>&1; then
    fuzz=yes
elif cargo install cargo-fuzz --version '^0.13' --locked --root "$work/cargo-fuzz" --target-dir "$work/build"; then
    export PATH="$work/cargo-fuzz/bin:$PATH"
    fuzz=yes
else
    skip "cargo-fuzz is not installed, and cargo cannot get it"
fi
if [[ $fuzz == yes ]]; then
    # Sanitizers are options that rustc hides from stable releases.
    export RUSTC_BOOTSTRAP=1
    cargo fuzz build
    for target in $(cargo fuzz list); do
        printf -- '-- %s\n' "$target"
        # What is found goes to the first folder; the seeds stay as they are.
        mkdir -p "$work/corpus/$target"
        cargo fuzz run "$target" "$work/corpus/$target" "fuzz/corpus/$target" -- \
            -max_total_time=10 -timeout=30 -verbosity=0 -print_final_stats=1 >"$work/fuzz.log" 2>&1 ||
            { cat "$work/fuzz.log"; die "fuzz target $target failed"; }
        grep 'stat::number_of_executed_units' "$work/fuzz.log"
    done
    unset RUSTC_BOOTSTRAP
fi

step "examples in the documentation"
cargo test --workspace "${features[@]}" --doc

step "FIPS mode over the validated module"
if command -v go >/dev/null && command -v cmake >/dev/null; then
    cargo test -p hsm-backend-soft --features fips --test fips
else
    skip "Go and CMake, which build the module, are not installed"
fi

step "published vectors"
cargo test --workspace "${features[@]}" --test vectors -- --nocapture

step "what the official clients need"
if ! python3 -m venv --help >/dev/null 2>&1 && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    { apt-get update && apt-get install -y python3 python3-venv; } >/dev/null 2>&1 || true
fi
# The tests get the clients themselves, from the registries of Python and Node.
python3 -m venv --help >/dev/null 2>&1 || skip "Python is not installed: nothing runs the official Python clients, nor schemathesis"
command -v npm >/dev/null || skip "Node is not installed: nothing runs the official JavaScript clients"

step "tests"
if ! { command -v swtpm && command -v tpm2_getcap; } >/dev/null && [[ $(id -u) == 0 ]] && command -v apt-get >/dev/null; then
    { apt-get update && apt-get install -y swtpm tpm2-tools; } >/dev/null 2>&1 || true
fi
command -v swtpm >/dev/null || skip "swtpm is not installed; tests of the TPM device skip"
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace "${features[@]}" --no-fail-fast -E 'not binary(vectors)'
else
    cargo test --workspace "${features[@]}" --lib --bins --tests --examples --no-fail-fast
fi
