//! Services that are wrong in one thing.

use std::sync::Arc;

use async_trait::async_trait;
use hsm_backend_soft::SoftDevice;
use hsm_core::attestation::Nonce;
use hsm_core::audit::RequestId;
use hsm_core::{
    Credentials, Engine, ErrorKind, Parts, Principal, Request, Response, Result, SecretBytes,
    Service, Session, Settings, Setup,
};
use hsm_testkit::service::{ADMINISTRATOR, PASSWORD, ServiceUnderTest};
use hsm_testkit::suite::{self, Case};
use hsm_testkit::{ManualClock, MemoryAudit, MemoryStore};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Flaw {
    None,
    /// Makes random bytes itself, for whoever may have them.
    ActsUnrecorded,
    /// Makes random bytes itself, for everybody.
    AnswersItself,
    /// Does not end sessions.
    IgnoresLogout,
    /// Sends a request again that it has no need to.
    RepeatsRequests,
    /// Says that a key is deleted, and leaves it.
    SavesKeys,
    /// Serves everybody through the administrator's session.
    SharesOneSession,
    /// Gives the report that it made before, whatever the nonce.
    KeepsReports,
    /// Tells those who may not know whether a key exists.
    ShowsKeys,
}

super::caught! { cases(Flaw):
    records: ActsUnrecorded by [
        "every_attempt_is_recorded": "every attempt leaves a record",
    ],
    authorization: AnswersItself by [
        "sessions_are_bound_to_their_principal": "another's session gives no rights",
        "nothing_works_after_zeroize": "after zeroize nothing works",
    ],
    logout: IgnoresLogout by [
        "logout_ends_the_session": "after logout every call is Unauthenticated",
    ],
    repetition: RepeatsRequests by [
        "rotations_at_once_all_count": "what was acknowledged is there",
    ],
    deletion: SavesKeys by [
        "deleted_keys_do_nothing": "a deleted key",
    ],
    freshness: KeepsReports by [
        "key_reports_answer_what_was_asked": "the nonce is the caller's",
    ],
    principals: SharesOneSession by [
        "roles_hold_at_their_scope": "a role at another key",
    ],
    secrecy: ShowsKeys by [
        "refusals_do_not_show_which_keys_exist": "a live key looks like none",
    ],
}

fn cases(flaw: Flaw) -> Vec<Case> {
    suite::service(move || BrokenService::under_test(flaw))
}

#[derive(Debug)]
struct BrokenService {
    flaw: Flaw,
    engine: Engine,
}

impl BrokenService {
    async fn under_test(flaw: Flaw) -> ServiceUnderTest {
        let clock = Arc::new(ManualClock::default());
        let parts = Parts {
            device: Arc::new(SoftDevice::in_memory().unwrap()),
            store: Arc::new(MemoryStore::new()),
            audit: Arc::new(MemoryAudit::new()),
            clock: clock.clone(),
        };
        let setup = Setup {
            administrator: ADMINISTRATOR.parse().unwrap(),
            password: SecretBytes::copy_from(PASSWORD.as_bytes()),
            settings: Settings::default(),
        };
        let engine = Engine::create(parts, setup).await.unwrap();
        ServiceUnderTest::new(Self { flaw, engine }).with_clock(clock)
    }
}

#[async_trait]
impl Service for BrokenService {
    async fn login(&self, credentials: Credentials) -> Result<Arc<dyn Session>> {
        let administrator = || self.engine.session_for(ADMINISTRATOR.parse().unwrap());
        let mut session = self.engine.login(credentials).await?;
        if self.flaw == Flaw::SharesOneSession {
            session = administrator().await?;
        }
        Ok(Arc::new(BrokenSession {
            flaw: self.flaw,
            session,
            administrator: administrator().await?,
        }))
    }
}

#[derive(Debug)]
struct BrokenSession {
    flaw: Flaw,
    session: Arc<dyn Session>,
    administrator: Arc<dyn Session>,
}

#[async_trait]
impl Session for BrokenSession {
    fn principal(&self) -> &Principal {
        self.session.principal()
    }

    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        let answers_itself = match self.flaw {
            Flaw::ActsUnrecorded => self.principal() == self.administrator.principal(),
            flaw => flaw == Flaw::AnswersItself,
        };
        match (self.flaw, &request) {
            (_, Request::Random { len }) if answers_itself => {
                let bytes = SecretBytes::init_with(*len, |bytes| bytes.fill(4));
                return Ok(Response::Secret(bytes));
            }
            (Flaw::RepeatsRequests, Request::RotateKey { name }) => {
                let name = name.clone();
                self.session.call(id, Request::RotateKey { name }).await?;
            }
            (Flaw::KeepsReports, Request::AttestKey { key, pcrs, .. }) => {
                let request = Request::AttestKey {
                    key: key.clone(),
                    nonce: Nonce::new([1; 16])?,
                    pcrs: *pcrs,
                };
                return self.session.call(id, request).await;
            }
            (Flaw::SavesKeys, Request::DeleteKey { name }) => {
                let key = name.as_str().parse()?;
                return self.session.call(id, Request::GetKey { key }).await;
            }
            _ => {}
        }
        let name = request.key_name().cloned();
        let answer = self.session.call(id, request).await;
        if let (Flaw::ShowsKeys, Err(refusal), Some(name)) = (self.flaw, &answer, name)
            && refusal.kind() == ErrorKind::Denied
        {
            let key = name.as_str().parse()?;
            self.administrator.call(id, Request::GetKey { key }).await?;
        }
        answer
    }

    async fn logout(&self) {
        if self.flaw != Flaw::IgnoresLogout {
            self.session.logout().await;
        }
    }
}
