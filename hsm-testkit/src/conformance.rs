//! The conformance suites: one function per promise of a contract, and the macros that make each a `#[test]`.
//!
//! A case panics with the clause of the contract that does not hold. What a device says that it cannot do is skipped
//! and printed; run with `--nocapture` to see the reasons.

pub mod device;
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

/// Makes a `#[test]` of every case of the [`Device`](hsm_core::Device) and [`LoadedKey`](hsm_core::LoadedKey)
/// contracts. The expression makes a new device with a root of its own.
///
/// ```
/// hsm_testkit::device_conformance!(hsm_backend_soft::SoftDevice::in_memory().unwrap());
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! device_conformance {
    ($make:expr) => {
        #[cfg(test)]
        fn device_under_test() -> impl $crate::hsm_core::Device {
            $make
        }

        $crate::conformance_cases! {
            device, device_conformance, device_under_test:
            abandoned_calls_leave_the_device_usable,
            aes_answers_are_the_published_ones,
            agreement_works_both_ways,
            algorithms_of_other_key_types_are_refused,
            bare_keys_come_in_and_stay,
            capabilities_are_coherent,
            ciphertexts_decrypt,
            data_of_impossible_lengths_is_refused,
            debug_output_shows_no_key,
            derivation_is_deterministic_and_separated,
            derived_secrets_are_those_of_openssl,
            derived_secrets_have_the_length_asked_for,
            digests_of_the_wrong_length_are_refused,
            ed25519_signatures_are_the_published_ones,
            edited_blobs_are_refused,
            edited_ciphertexts_are_refused,
            edited_wrapped_keys_are_refused,
            encryptions_do_not_repeat,
            every_flipped_bit_is_found,
            exported_keys_come_back_the_same,
            generated_keys_differ,
            generated_keys_load_and_say_what_they_are,
            given_ivs_are_used_or_refused,
            imported_key_pairs_are_the_published_ones,
            imports_do_not_widen,
            keys_load_under_their_binding_only,
            keys_of_impossible_lengths_are_not_wrapped,
            keys_that_are_not_exportable_stay,
            loaded_keys_are_independent,
            macs_are_computed_and_checked,
            macs_are_those_of_openssl,
            messages_of_any_length_are_signed,
            nothing_works_after_zeroize,
            parts_that_an_algorithm_lacks_are_refused,
            peers_of_small_order_are_refused,
            peers_on_other_curves_are_refused,
            random_bytes_differ,
            resealed_keys_are_the_same_under_the_new_binding,
            resealing_takes_usages_away,
            a_key_for_one_algorithm_refuses_the_others,
            rsa_ciphertexts_of_openssl_decrypt,
            sealed_keys_cannot_be_swapped,
            signatures_verify_everywhere,
            slow_calls_do_not_block_their_poller,
            threads_do_not_mix_up_data,
            threads_make_keys_at_once,
            threads_share_a_loaded_key,
            transport_needs_its_usages,
            unsupported_algorithms_are_reported,
            unsupported_key_types_are_reported,
            usages_are_enforced,
            what_is_no_key_is_not_imported,
            what_is_no_sealed_key_does_not_load,
            wrapped_keys_unwrap,
            wrong_signatures_are_refused,
            x25519_secrets_are_the_published_ones,
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
fn skip(reason: impl Display) {
    eprintln!("skipped: {reason}");
}

#[cfg(test)]
mod tests {
    /// A case that no macro lists would never run.
    #[test]
    fn every_case_is_listed() {
        let macros = include_str!("conformance.rs");
        let sources = [
            include_str!("conformance/store.rs"),
            include_str!("conformance/device/agreement.rs"),
            include_str!("conformance/device/derivation.rs"),
            include_str!("conformance/device/encryption.rs"),
            include_str!("conformance/device/import.rs"),
            include_str!("conformance/device/keys.rs"),
            include_str!("conformance/device/sealing.rs"),
            include_str!("conformance/device/sharing.rs"),
            include_str!("conformance/device/signing.rs"),
            include_str!("conformance/device/transport.rs"),
            include_str!("conformance/device/wrapping.rs"),
        ];
        let cases = sources
            .iter()
            .flat_map(|source| source.split("\npub async fn ").skip(1))
            .filter_map(|rest| rest.split(['<', '(']).next());
        let mut count = 0;
        for case in cases {
            assert!(macros.contains(&format!("            {case},\n")), "{case}");
            count += 1;
        }
        assert!(count > 40, "only {count} cases were found");
    }
}
