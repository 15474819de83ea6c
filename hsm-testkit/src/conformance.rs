//! The conformance suites: one function per promise of a contract, and the macros that make each a `#[test]`.
//!
//! A case panics with the clause of the contract that does not hold. What a device says that it cannot do is skipped
//! and printed; run with `--nocapture` to see the reasons.
#![expect(
    clippy::missing_panics_doc,
    reason = "a case panics when the contract is broken: that is what it is for"
)]

pub mod store;

use std::fmt::{Debug, Display};

use hsm_core::{ErrorKind, Result};

/// Makes a `#[test]` of every case of the [`Store`](hsm_core::Store) contract. The expression makes a new, empty store.
///
/// ```
/// hsm_testkit::store_conformance!(hsm_testkit::MemoryStore::new());
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_conformance {
    ($make:expr) => {
        #[cfg(test)]
        fn store_under_test() -> impl $crate::hsm_core::Store {
            $make
        }

        $crate::conformance_cases! {
            store, store_conformance, store_under_test:
            a_body_may_fail_with_any_error,
            a_commit_changes_the_version,
            a_dropped_future_still_commits,
            a_failed_body_changes_nothing,
            a_fresh_store_is_empty,
            a_view_is_one_snapshot,
            any_history_ends_as_in_the_model,
            concurrent_creations_of_one_record_leave_one_winner,
            concurrent_increments_add_up,
            counts_stop_at_their_limit,
            last_is_the_greatest_key,
            large_transactions_happen_whole,
            records_are_what_was_put,
            records_beyond_the_limits_are_refused,
            removal_is_final_and_may_repeat,
            scans_are_ordered_and_bounded,
            spaces_are_apart,
            transactions_see_their_own_changes,
        }
    };
}

/// Expands to a module with one test per case.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_cases {
    ($suite:ident, $module:ident, $make:ident: $($case:ident),* $(,)?) => {
        #[cfg(test)]
        mod $module {
            $(
                #[test]
                fn $case() {
                    $crate::block_on($crate::conformance::$suite::$case(super::$make));
                }
            )*
        }
    };
}

/// The value of a call that the contract says must succeed.
#[track_caller]
fn ok<T>(result: Result<T>, clause: impl Display) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{clause}: unexpected error: {error}"),
    }
}

/// Checks that a call failed with one of `kinds`.
#[track_caller]
fn fails<T: Debug>(result: Result<T>, kinds: &[ErrorKind], clause: impl Display) {
    match result {
        Ok(value) => panic!("{clause}: expected {kinds:?}, but it succeeded with {value:?}"),
        Err(error) => assert!(
            kinds.contains(&error.kind()),
            "{clause}: expected {kinds:?}, but it failed with {:?}: {error}",
            error.kind()
        ),
    }
}

/// Says that a case, or a part of one, does not apply.
#[cfg(any())]
fn skip(reason: impl Display) {
    eprintln!("skipped: {reason}");
}

#[cfg(test)]
mod tests {
    /// A case that no macro lists would never run.
    #[test]
    fn every_case_is_listed() {
        let macros = include_str!("conformance.rs");
        let sources = [include_str!("conformance/store.rs")];
        let cases = sources
            .iter()
            .flat_map(|source| source.split("\npub async fn ").skip(1))
            .filter_map(|rest| rest.split(['<', '(']).next());
        let mut count = 0;
        for case in cases {
            assert!(macros.contains(&format!("            {case},\n")), "{case}");
            count += 1;
        }
        assert!(count > 15, "only {count} cases were found");
    }
}
