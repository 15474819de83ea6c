//! What is printed when a service does not do as the model, and that it is found at all.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures_executor::block_on;
use hsm_core::audit::RequestId;
use hsm_core::lifecycle::Event;
use hsm_core::{Credentials, Principal, Request, Response, Result, Service, Session};

use super::step::{Act, Change, Kind, Life, Policy, Step, Use, Which};
use super::*;

/// Which requests are taken for others.
type Mistakes = fn(Request<'_>) -> Request<'_>;

/// A model, but for some requests, which it takes for others.
#[derive(Clone, Debug)]
struct Wrong {
    model: Model,
    mistakes: Mistakes,
}

impl Wrong {
    async fn make(clock: Arc<ManualClock>, mistakes: Mistakes) -> Self {
        let model = Model::new(clock);
        Self { model, mistakes }
    }
}

#[async_trait]
impl Service for Wrong {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn Session>> {
        let session = self.model.login(credentials).await?;
        let mistakes = self.mistakes;
        Ok(Arc::new(WrongSession { session, mistakes }))
    }
}

#[derive(Debug)]
struct WrongSession {
    session: Arc<dyn Session>,
    mistakes: Mistakes,
}

#[async_trait]
impl Session for WrongSession {
    fn principal(&self) -> &Principal {
        self.session.principal()
    }

    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        self.session.call(id, (self.mistakes)(request)).await
    }

    async fn logout(&self) {
        self.session.logout().await;
    }
}

#[async_trait]
impl Subject for Wrong {
    fn service(&self) -> Arc<dyn Service> {
        Arc::new(self.clone())
    }

    async fn maintain(&self) -> Result<bool> {
        self.model.maintain();
        Ok(true)
    }

    async fn restart(&mut self) -> Result<bool> {
        Ok(true)
    }
}

/// Reads a key that it shall suspend.
fn never_suspends(request: Request<'_>) -> Request<'_> {
    match request {
        Request::UpdateKey { key, update } if update.lifecycle_event() == Some(Event::Suspend) => {
            Request::GetKey { key }
        }
        other => other,
    }
}

/// Shows the living to who asks for the dead.
fn mixes_listings_up(request: Request<'_>) -> Request<'_> {
    match request {
        Request::ListDeletedKeys { page } => Request::ListKeys { page },
        other => other,
    }
}

/// Takes one role for all.
fn forgets_to_take_roles_away(request: Request<'_>) -> Request<'_> {
    match request {
        Request::DeleteRoleAssignment { .. } => Request::ListRoleDefinitions,
        other => other,
    }
}

/// Makes a secret where it shall find one.
fn never_decapsulates(request: Request<'_>) -> Request<'_> {
    match request {
        Request::Decapsulate { key, algorithm, .. } => Request::Encapsulate { key, algorithm },
        other => other,
    }
}

#[test]
fn a_wrong_service_is_found_out_in_a_few_steps() {
    let cases: [(Mistakes, Histories, &str); 4] = [
        (never_suspends, Histories::of_keys(), "Event::Suspend"),
        (never_decapsulates, Histories::of_keys(), "Decapsulate"),
        (mixes_listings_up, Histories::of_keys(), "ListDeletedKeys"),
        (
            forgets_to_take_roles_away,
            Histories::of_people(),
            "DeleteRoleAssignment",
        ),
    ];
    for (mistakes, histories, last) in cases {
        let make = async |clock| Wrong::make(clock, mistakes).await;
        let difference = check_histories(make, histories.cases(2000)).unwrap_err();
        let calls = difference.program.matches(".call(").count();
        assert!(calls <= 6, "{difference}");
        assert!(difference.program.contains(last), "{difference}");
        assert!(difference.to_string().contains(&difference.program));
    }
}

/// The program that `tests/histories/repeated.rs` is a copy of, and runs.
#[test]
fn a_difference_prints_as_the_program_that_is_run() {
    let red = Which {
        name: "red",
        version: None,
    };
    let administrator = |act| Step::Ask {
        by: ADMINISTRATOR,
        act,
    };
    let key = "red";
    let first = Some(Which {
        name: key,
        version: Some(0),
    });
    let life = Life {
        expires: Some(90_000),
        tag: Some("old"),
        ..Life::default()
    };
    let history = History(vec![
        administrator(Act::Create {
            key,
            kind: Kind::Encryption,
            life,
        }),
        administrator(Act::Use {
            key: red,
            operation: Use::Natural,
            text: "to be or not to be",
        }),
        administrator(Act::SetPolicy {
            key,
            policy: Some(Policy::After("P2D", Some("P5D"))),
        }),
        Step::Advance(Duration::from_secs(3 * 24 * 3600)),
        Step::Maintain,
        Step::Restart,
        administrator(Act::Check {
            product: 0,
            key: first,
            edited: false,
        }),
        administrator(Act::Check {
            product: 0,
            key: first,
            edited: true,
        }),
        administrator(Act::CreateUser {
            user: "alice",
            password: "a first password",
        }),
        Step::Ask {
            by: "alice",
            act: Act::Get { key: red },
        },
        administrator(Act::Update {
            key: red,
            change: Change {
                event: Some(Event::Suspend),
                ..Change::default()
            },
        }),
    ]);
    let make = async |clock| Wrong::make(clock, never_suspends).await;
    let difference = block_on(check_history(make, &history)).unwrap_err();
    let file = include_str!("../../tests/histories/repeated.rs");
    let (_, pasted) = file.split_once("\n\n").expect("a line on what it is");
    let pasted = unformatted(pasted);
    assert!(
        pasted.starts_with(&unformatted(&difference.program)),
        "{difference}"
    );
}

/// The text without what rustfmt does to it.
fn unformatted(program: &str) -> String {
    let mut text: String = program.split_whitespace().collect();
    for (found, instead) in [(",)", ")"), (",}", "}"), (",]", "]")] {
        text = text.replace(found, instead);
    }
    text
}
