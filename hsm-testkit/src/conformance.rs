//! The conformance suites: one function per promise of a contract, and the macros that make each a `#[test]`.
//!
//! A case panics with the clause of the contract that does not hold. What a device says that it cannot do is skipped
//! and printed; run with `--nocapture` to see the reasons.

pub mod audit;
pub mod counter;
pub mod device;
pub mod durable_audit;
pub mod durable_store;
pub mod sealer;
pub mod service;
pub mod store;

use std::cell::RefCell;
use std::error::Error;
use std::fmt::{Debug, Display};
use std::panic::resume_unwind;
use std::thread::ScopedJoinHandle;

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

        $crate::store_cases!(conformance_tests: store_conformance, store_under_test);
    };
}

/// Makes a `#[test]` of every case of what the [`Store`](hsm_core::Store) contract says of the disk: acknowledged is
/// durable, and openers see and exclude each other. The expression makes a closure that opens one store, again and
/// again; what it opens first is empty.
///
/// It does not cut the power: how a store stands that is its own to test.
///
/// ```
/// hsm_testkit::store_durability!({
///     let shared = hsm_testkit::MemoryStore::new(); // yours: a path
///     move || shared.clone()
/// });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! store_durability {
    ($make:expr) => {
        #[cfg(test)]
        fn durable_store_under_test() -> $crate::Reopen<dyn $crate::hsm_core::Store> {
            $crate::Reopen::store($make)
        }

        $crate::durable_store_cases!(conformance_tests: store_durability, durable_store_under_test);
    };
}

/// Makes a `#[test]` of every case of the [`Device`](hsm_core::Device) and [`LoadedKey`](hsm_core::LoadedKey)
/// contracts. The expression makes a new device with a root of its own.
///
/// ```
/// hsm_testkit::device_conformance!(hsm_backend_soft::SoftDevice::in_memory().unwrap());
/// # fn main() {}
/// ```
///
/// A device that is not on every machine says why not, and the tests skip with the reason:
///
/// ```
/// hsm_testkit::device_conformance!(
///     hsm_backend_soft::SoftDevice::in_memory().unwrap(),
///     missing: Some("it is not plugged in").filter(|_| cfg!(windows))
/// );
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! device_conformance {
    ($make:expr) => {
        #[cfg(test)]
        fn device_under_test() -> impl $crate::hsm_core::Device {
            $make
        }

        $crate::device_cases!(conformance_tests: device_conformance, device_under_test);
    };
    ($make:expr, missing: $reason:expr) => {
        #[cfg(test)]
        fn device_under_test() -> impl $crate::hsm_core::Device {
            $make
        }

        #[cfg(test)]
        fn why_missing() -> Option<impl ::std::fmt::Display> {
            $reason
        }

        $crate::device_cases!(conformance_tests_unless: device_conformance, device_under_test, why_missing);
    };
}

/// Makes a `#[test]` of every case of the [`AuditSink`](hsm_core::audit::AuditSink) contract. The expression makes a new
/// sink with streams of its own.
///
/// ```
/// hsm_testkit::audit_conformance!(hsm_testkit::MemoryAudit::new());
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! audit_conformance {
    ($make:expr) => {
        #[cfg(test)]
        fn audit_under_test() -> impl $crate::hsm_core::audit::AuditSink {
            $make
        }

        $crate::audit_cases!(conformance_tests: audit_conformance, audit_under_test);
    };
}

/// Makes a `#[test]` of every case of what the [`AuditSink`](hsm_core::audit::AuditSink) contract says of records that
/// outlive their sink. The expression makes a closure that opens one log, again and again.
///
/// ```
/// use hsm_testkit::MemoryAudit;
///
/// hsm_testkit::audit_durability!({
///     let shared = MemoryAudit::new(); // yours: a folder that is new
///     move || shared.clone()
/// });
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! audit_durability {
    ($make:expr) => {
        #[cfg(test)]
        fn durable_audit_under_test() -> $crate::Reopen<dyn $crate::hsm_core::audit::AuditSink> {
            $crate::Reopen::audit($make)
        }

        $crate::durable_audit_cases!(conformance_tests: audit_durability, durable_audit_under_test);
    };
}

/// Makes a `#[test]` of every case of the [`Service`](hsm_core::Service) and [`Session`](hsm_core::Session) contracts.
/// The expression makes a [`ServiceUnderTest`](crate::service::ServiceUnderTest) and may await.
///
/// ```
/// use hsm_testkit::Model;
/// use hsm_testkit::service::ServiceUnderTest;
///
/// // Your own, whose only user is `ADMINISTRATOR`, with `PASSWORD`.
/// async fn new_service() -> ServiceUnderTest {
///     ServiceUnderTest::new(Model::new(Default::default()))
/// }
///
/// hsm_testkit::service_conformance!(new_service().await);
/// # fn main() {}
/// ```
///
/// A service over a device that is not on every machine says why not, as for [`device_conformance!`]; one over a device
/// that does not have everything says [what it has](crate::service::ServiceUnderTest::offering).
#[macro_export]
macro_rules! service_conformance {
    ($make:expr) => {
        #[cfg(test)]
        async fn service_under_test() -> $crate::service::ServiceUnderTest {
            $make
        }

        $crate::service_cases!(conformance_tests: service_conformance, service_under_test);
    };
    ($make:expr, missing: $reason:expr) => {
        #[cfg(test)]
        async fn service_under_test() -> $crate::service::ServiceUnderTest {
            $make
        }

        #[cfg(test)]
        fn why_missing() -> Option<impl ::std::fmt::Display> {
            $reason
        }

        $crate::service_cases!(conformance_tests_unless: service_conformance, service_under_test, why_missing);
    };
}

/// Makes a `#[test]` of every case of the [`RootSealer`](hsm_core::RootSealer) contract. The expression makes new hardware each
/// time. It may be [missing](device_conformance!).
///
/// ```
/// hsm_testkit::root_sealer_conformance!(hsm_testkit::MemorySealer::new());
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! root_sealer_conformance {
    ($make:expr) => {
        $crate::root_sealer_conformance!($make, missing: None::<&str>);
    };
    ($make:expr, missing: $reason:expr) => {
        #[cfg(test)]
        fn sealer_under_test() -> impl $crate::hsm_core::RootSealer {
            $make
        }

        #[cfg(test)]
        fn why_sealer_missing() -> Option<impl ::std::fmt::Display> {
            $reason
        }

        $crate::sealer_cases!(conformance_tests_unless: root_sealer_conformance, sealer_under_test, why_sealer_missing);
    };
}

/// Makes a `#[test]` of every case of the [`MonotonicCounter`](hsm_core::MonotonicCounter) contract. The expression makes a new
/// counter each time. It may be [missing](device_conformance!).
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use hsm_testkit::MemoryCounter;
///
/// static NEXT: AtomicU64 = AtomicU64::new(0);
/// hsm_testkit::counter_conformance!(MemoryCounter::new(NEXT.fetch_add(1, Ordering::Relaxed)));
/// # fn main() {}
/// ```
#[macro_export]
macro_rules! counter_conformance {
    ($make:expr) => {
        $crate::counter_conformance!($make, missing: None::<&str>);
    };
    ($make:expr, missing: $reason:expr) => {
        #[cfg(test)]
        fn counter_under_test() -> impl $crate::hsm_core::MonotonicCounter {
            $make
        }

        #[cfg(test)]
        fn why_counter_missing() -> Option<impl ::std::fmt::Display> {
            $reason
        }

        $crate::counter_cases!(conformance_tests_unless: counter_conformance, counter_under_test, why_counter_missing);
    };
}

/// The cases of the suite, for what makes tests or values of them.
#[doc(hidden)]
#[macro_export]
macro_rules! sealer_cases {
    ($with:ident: $($argument:ident),*) => {
        $crate::$with! {
            sealer, $($argument),*:
            altered_seals_are_refused,
            other_hardware_refuses,
            other_lengths_are_refused,
            sealed_secrets_come_back,
            seals_differ_and_hide_the_secret,
            the_name_is_for_messages,
        }
    };
}

/// The cases of the suite, for what makes tests or values of them.
#[doc(hidden)]
#[macro_export]
macro_rules! counter_cases {
    ($with:ident: $($argument:ident),*) => {
        $crate::$with! {
            counter, $($argument),*:
            callers_at_once_do_not_overshoot,
            far_steps_are_refused,
            identities_are_their_own,
            it_counts_to_what_was_asked_for,
            it_never_falls,
        }
    };
}

/// The cases of the suite, for what makes tests or values of them.
#[doc(hidden)]
#[macro_export]
macro_rules! store_cases {
    ($with:ident: $($argument:ident),*) => {
        $crate::$with! {
            store, $($argument),*:
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
            large_transactions_happen_whole,
            last_is_the_greatest_key,
            records_are_what_was_put,
            records_beyond_the_limits_are_refused,
            removal_is_final_and_may_repeat,
            scans_are_ordered_and_bounded,
            spaces_are_apart,
            transactions_see_their_own_changes,
        }
    };
}

/// The cases of the suite, for what makes tests or values of them.
#[doc(hidden)]
#[macro_export]
macro_rules! device_cases {
    ($with:ident: $($argument:ident),*) => {
        $crate::$with! {
            device, $($argument),*:
            a_key_for_one_algorithm_refuses_the_others,
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
            dropped_keys_free_their_place,
            ed25519_signatures_are_the_published_ones,
            edited_blobs_are_refused,
            edited_ciphertexts_are_refused,
            edited_wrapped_keys_are_refused,
            encapsulated_secrets_decapsulate,
            encapsulations_of_the_wrong_length_are_refused,
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
            ml_kem_secrets_are_the_published_ones,
            nothing_works_after_zeroize,
            parts_that_an_algorithm_lacks_are_refused,
            peers_of_small_order_are_refused,
            peers_on_other_curves_are_refused,
            published_ml_dsa_signatures_verify,
            random_bytes_differ,
            reports_are_for_their_nonce,
            reports_state_the_key,
            resealed_keys_are_the_same_under_the_new_binding,
            resealing_takes_usages_away,
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
            what_does_not_load_is_not_reported,
            what_is_no_key_is_not_imported,
            what_is_no_sealed_key_does_not_load,
            wrapped_keys_unwrap,
            wrong_encapsulations_give_other_secrets,
            wrong_signatures_are_refused,
            x25519_secrets_are_the_published_ones,
            x_wing_secrets_are_the_published_ones,
        }
    };
}

/// The cases of the suite, for what makes tests or values of them.
#[doc(hidden)]
#[macro_export]
macro_rules! audit_cases {
    ($with:ident: $($argument:ident),*) => {
        $crate::$with! {
            audit, $($argument),*:
            a_fresh_sink_is_empty,
            checkpoints_are_of_the_current_head,
            closing_ends_the_streams,
            events_come_back_in_order,
            heads_count_the_records,
            open_streams_are_not_abandoned,
            oversize_events_are_refused,
            parts_of_a_stream_can_be_read,
            streams_are_listed,
            threads_append_at_once,
        }
    };
}

/// The cases of the suite, for what makes tests or values of them.
#[doc(hidden)]
#[macro_export]
macro_rules! service_cases {
    ($with:ident: $($argument:ident),*) => {
        $crate::$with! {
            service, $($argument),*:
            agreement_works_both_ways,
            assignments_are_made_once,
            audit_streams_chain,
            backups_replace_no_key,
            built_in_roles_stay_as_they_are,
            ciphertexts_decrypt,
            compromised_keys_come_back_compromised,
            created_keys_are_what_was_asked_for,
            custom_roles_allow_what_they_say,
            deleted_keys_do_nothing,
            deleted_users_are_gone,
            derivations_repeat_and_differ,
            digests_of_the_wrong_length_are_refused,
            disabled_users_are_out,
            dropped_calls_leave_the_service_usable,
            edited_wrapped_keys_are_refused,
            encapsulated_secrets_decapsulate,
            encapsulation_follows_usages_and_states,
            every_attempt_is_recorded,
            every_request_has_its_own_answer,
            expired_keys_protect_nothing_new,
            exported_keys_come_back_the_same,
            foreign_and_edited_backups_are_refused,
            given_up_changes_happen_whole_or_not,
            grants_and_revocations_count_at_once,
            imported_keys_are_the_published_ones,
            inputs_at_the_limits_work,
            inputs_beyond_the_limits_are_refused,
            key_reports_answer_what_was_asked,
            key_reports_are_for_readers,
            keys_are_deleted_during_use,
            keys_are_switched_off_and_on,
            keys_for_one_algorithm_do_no_other,
            keys_say_what_their_deletion_means,
            keys_that_are_not_exportable_stay,
            keys_wait_for_their_time,
            listings_of_nothing_are_empty,
            logins_are_recorded,
            logout_ends_the_session,
            macs_are_checked,
            material_that_is_no_key_is_refused,
            misfit_algorithms_are_refused,
            missing_keys_are_not_found,
            names_are_taken_once,
            new_keys_become_versions,
            new_passwords_end_sessions,
            nothing_works_after_zeroize,
            one_of_many_creations_wins,
            one_task_uses_many_keys,
            pages_cover_everything_once,
            pages_have_a_default_length,
            pages_of_impossible_lengths_are_refused,
            policies_limit_the_life_of_versions,
            post_quantum_keys_come_back_the_same,
            purge_protection_stays_on,
            purged_names_are_free,
            random_bytes_differ,
            recovered_keys_are_the_same,
            refusals_do_not_show_which_keys_exist,
            refusals_name_action_and_scope,
            restored_keys_are_the_same,
            retention_is_kept_within_its_limits,
            roles_change_under_load,
            roles_hold_at_their_scope,
            rotation_keeps_old_versions_working,
            rotation_policies_are_kept,
            rotations_at_once_all_count,
            rsa1_5_needs_its_setting,
            sessions_are_bound_to_their_principal,
            sessions_end_during_use,
            sessions_time_out,
            signatures_verify_everywhere,
            states_allow_what_the_standard_says,
            states_change_as_the_standard_says,
            tasks_share_a_session,
            the_last_administrator_stays,
            tokens_are_as_good_as_their_user,
            tokens_end_with_their_sessions,
            tokens_live_within_their_limits,
            tokens_log_in_their_principal,
            transport_needs_rights_to_both_keys,
            unknown_streams_are_not_found,
            updates_change_what_they_name,
            usages_are_enforced,
            usages_are_taken_and_never_added,
            wrapped_bytes_unwrap,
            wrapped_keys_are_not_widened,
            wrong_passwords_and_unknown_users_look_alike,
            wrong_passwords_lock_out,
            wrong_tokens_look_alike,
            wrong_signatures_are_refused,
        }
    };
}

/// The cases of the suite, for what makes tests or values of them.
#[doc(hidden)]
#[macro_export]
macro_rules! durable_store_cases {
    ($with:ident: $($argument:ident),*) => {
        $crate::$with! {
            durable_store, $($argument),*:
            acknowledged_transactions_survive,
            failed_transactions_leave_nothing_behind,
            openers_exclude_each_other,
            openers_see_each_others_changes,
            versions_do_not_come_back,
        }
    };
}

/// The cases of the suite, for what makes tests or values of them.
#[doc(hidden)]
#[macro_export]
macro_rules! durable_audit_cases {
    ($with:ident: $($argument:ident),*) => {
        $crate::$with! {
            durable_audit, $($argument),*:
            acknowledged_events_survive,
            closed_streams_are_not_left_behind,
            openers_write_their_own_streams,
            streams_left_behind_are_told_once,
        }
    };
}

/// Expands to a module with one test per case.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests {
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

/// Expands to a module with one test per case, which skips with a reason if there is one.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_tests_unless {
    ($suite:ident, $module:ident, $make:ident, $reason:ident: $($case:ident),* $(,)?) => {
        #[cfg(test)]
        mod $module {
            $(
                #[test]
                fn $case() {
                    match super::$reason() {
                        Some(reason) => eprintln!("skipped: {reason}"),
                        None => $crate::block_on($crate::conformance::$suite::$case(super::$make)),
                    }
                }
            )*
        }
    };
}

/// Expands to a `Vec` of the cases, as values.
#[doc(hidden)]
#[macro_export]
macro_rules! conformance_values {
    ($suite:ident, $make:ident: $($case:ident),* $(,)?) => {
        vec![$({
            let make = $make.clone();
            $crate::suite::Case::new(stringify!($case), move || {
                $crate::block_on($crate::conformance::$suite::$case(&*make));
            })
        }),*]
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
        Err(error) => {
            assert!(
                kinds.contains(&error.kind()),
                "{clause}: expected {kinds:?}, but it failed with {:?}: {error}",
                error.kind()
            );
            if error.kind() == ErrorKind::CryptoFailed {
                let explained = !error.message().is_empty() || error.source().is_some();
                assert!(
                    !explained,
                    "{clause}: CryptoFailed says no reason: {error:?}"
                );
            }
        }
    }
}

/// Waits for threads. What one of them found is the case's finding, not that a thread has panicked.
fn join<T>(threads: Vec<ScopedJoinHandle<'_, T>>) -> Vec<T> {
    let results = threads.into_iter().map(ScopedJoinHandle::join);
    results
        .map(|result| result.unwrap_or_else(|panic| resume_unwind(panic)))
        .collect()
}

/// Says that a case, or a part of one, does not apply.
fn skip(reason: impl Display) {
    eprintln!("skipped: {reason}");
    SKIPPED.with_borrow_mut(|skipped| skipped.push(reason.to_string()));
}

/// What was skipped on this thread since it was last asked.
pub(crate) fn take_skipped() -> Vec<String> {
    SKIPPED.take()
}

thread_local! {
    static SKIPPED: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

#[cfg(test)]
mod tests {
    /// A case that no macro lists would never run.
    #[test]
    fn every_case_is_listed() {
        let macros = include_str!("conformance.rs");
        let sources = [
            include_str!("conformance/audit.rs"),
            include_str!("conformance/counter.rs"),
            include_str!("conformance/sealer.rs"),
            include_str!("conformance/store.rs"),
            include_str!("conformance/durable_audit.rs"),
            include_str!("conformance/durable_store.rs"),
            include_str!("conformance/device/agreement.rs"),
            include_str!("conformance/device/derivation.rs"),
            include_str!("conformance/device/encapsulation.rs"),
            include_str!("conformance/device/encryption.rs"),
            include_str!("conformance/device/import.rs"),
            include_str!("conformance/device/keys.rs"),
            include_str!("conformance/device/sealing.rs"),
            include_str!("conformance/device/sharing.rs"),
            include_str!("conformance/device/signing.rs"),
            include_str!("conformance/device/transport.rs"),
            include_str!("conformance/device/wrapping.rs"),
            include_str!("conformance/service/answers.rs"),
            include_str!("conformance/service/audit.rs"),
            include_str!("conformance/service/deletion.rs"),
            include_str!("conformance/service/encapsulation.rs"),
            include_str!("conformance/service/keys.rs"),
            include_str!("conformance/service/lifecycle.rs"),
            include_str!("conformance/service/limits.rs"),
            include_str!("conformance/service/listing.rs"),
            include_str!("conformance/service/operations.rs"),
            include_str!("conformance/service/roles.rs"),
            include_str!("conformance/service/sessions.rs"),
            include_str!("conformance/service/settings.rs"),
            include_str!("conformance/service/signing.rs"),
            include_str!("conformance/service/time.rs"),
            include_str!("conformance/service/transport.rs"),
            include_str!("conformance/service/users.rs"),
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
        assert!(count > 100, "only {count} cases were found");
    }
}
