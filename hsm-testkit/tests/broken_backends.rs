//! Promise: a backend that breaks a clause of its contract fails the conformance suite, with a message that says which
//! clause. Each wrong backend here is right but for one flaw; without a flaw all of them pass.
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests")]

#[path = "broken_backends/audit.rs"]
mod audit;
#[path = "broken_backends/device.rs"]
mod device;
#[path = "broken_backends/service.rs"]
mod service;
#[path = "broken_backends/store.rs"]
mod store;

use std::fmt::Debug;

use hsm_testkit::suite::Case;

/// Makes a `#[test]` of each wrong backend: the cases that must catch it, and what each must say.
macro_rules! caught {
    ($cases:ident($flaws:ident): $($test:ident: $flaw:ident by [$($case:literal: $clause:literal),* $(,)?],)*) => {
        $(
            #[test]
            fn $test() {
                crate::catch($flaws::$flaw, &$cases($flaws::$flaw), &[$(($case, $clause)),*]);
            }
        )*

        /// What catches the others is their flaw.
        #[test]
        fn without_a_flaw_it_passes() {
            // A flaw that no test names would prove nothing: it does not compile.
            match $flaws::None {
                $flaws::None $(| $flaws::$flaw)* => {}
            }
            crate::pass(&$cases($flaws::None), &[$($($case),*),*]);
        }
    };
}
use caught;

/// Runs the cases that must catch `backend`.
fn catch(backend: impl Debug, cases: &[Case], by: &[(&str, &str)]) {
    for (name, clause) in by {
        let case = cases.iter().find(|case| case.name() == *name);
        let case = case.unwrap_or_else(|| panic!("there is no case {name}"));
        let Err(message) = case.run() else {
            panic!("{backend:?} was not caught by {name}");
        };
        assert!(
            message.contains(clause),
            "{backend:?} was caught by {name}, which does not say `{clause}`: {message}"
        );
        println!("caught: {backend:?} by {name}: {message}");
    }
}

/// Runs the cases that catch others on a backend without a flaw.
fn pass(cases: &[Case], by: &[&str]) {
    for case in cases.iter().filter(|case| by.contains(&case.name())) {
        let passed = case.run();
        assert_eq!(passed, Ok(()), "{} catches the right one", case.name());
    }
}
