//! A session that logs in again when it has ended, for programs that run for longer than a session lasts.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use async_trait::async_trait;
use hsm_core::audit::RequestId;
use hsm_core::{
    Clock, Credentials, Error, ErrorKind, Principal, Request, Response, Result, Service, Session,
};

/// Gives the credentials each time that they are needed.
pub(crate) type Source = Box<dyn Fn() -> Result<Credentials> + Send + Sync>;

/// See [`Hsm::stay_logged_in`](crate::Hsm::stay_logged_in).
pub(crate) struct StandingSession {
    service: Arc<dyn Service>,
    source: Source,
    principal: Principal,
    current: ArcSwap<Opened>,
    ended: AtomicBool,
    clock: Arc<dyn Clock>,
    /// Held by who logs in, so that one does for all.
    logging_in: async_lock::Mutex<()>,
    failures: AtomicU64,
    failed: Mutex<Option<Failed>>,
}

struct Opened(Arc<dyn Session>);

/// Why the last login failed: all who waited for it fail with it. Credentials that were not taken are not shown again at
/// once: that would lock the user out.
struct Failed {
    kind: ErrorKind,
    message: String,
    retry_after: Option<Duration>,
    until: Duration,
}

impl StandingSession {
    pub(crate) async fn open(
        service: Arc<dyn Service>,
        source: Source,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        let session = service.login(source()?).await?;
        Ok(Self {
            service,
            source,
            principal: session.principal().clone(),
            current: ArcSwap::from_pointee(Opened(session)),
            ended: AtomicBool::new(false),
            clock,
            logging_in: async_lock::Mutex::new(()),
            failures: AtomicU64::new(0),
            failed: Mutex::new(None),
        })
    }

    /// Opens a session in place of `over`, unless somebody has done so meanwhile.
    async fn log_in_again(&self, over: &Arc<Opened>) -> Result<Arc<Opened>> {
        let failures = self.failures.load(Ordering::Relaxed);
        let _one_for_all = self.logging_in.lock().await;
        if self.ended.load(Ordering::Acquire) {
            return Err(ended());
        }
        let current = self.current.load_full();
        if !Arc::ptr_eq(&current, over) {
            return Ok(current);
        }
        let failed_meanwhile = self.failures.load(Ordering::Relaxed) != failures;
        if let Some(failed) = &*self.failed()
            && (failed_meanwhile || self.clock.monotonic() < failed.until)
        {
            return Err(failed.error());
        }
        let session = match self.log_in().await {
            Ok(session) => session,
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                *self.failed() = Some(Failed::new(&error, self.clock.monotonic()));
                return Err(error);
            }
        };
        *self.failed() = None;
        if self.ended.load(Ordering::Acquire) {
            session.logout().await;
            return Err(ended());
        }
        let opened = Arc::new(Opened(session));
        self.current.store(opened.clone());
        Ok(opened)
    }

    async fn log_in(&self) -> Result<Arc<dyn Session>> {
        let session = self.service.login((self.source)()?).await?;
        if *session.principal() != self.principal {
            session.logout().await;
            return Err(Error::new(
                ErrorKind::Unauthenticated,
                format!(
                    "the credentials are those of {}, and were those of {} before",
                    session.principal(),
                    self.principal
                ),
            ));
        }
        Ok(session)
    }

    fn failed(&self) -> MutexGuard<'_, Option<Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Failed {
    fn new(error: &Error, now: Duration) -> Self {
        let rest = match error.kind() {
            ErrorKind::Unauthenticated | ErrorKind::LockedOut => {
                error.retry_after().unwrap_or_default().max(LOGIN_RETRY)
            }
            _ => Duration::ZERO,
        };
        Self {
            kind: error.kind(),
            message: error.message().to_owned(),
            retry_after: error.retry_after(),
            until: now.saturating_add(rest),
        }
    }

    fn error(&self) -> Error {
        let error = Error::new(self.kind, self.message.clone());
        match self.retry_after {
            Some(wait) => error.with_retry_after(wait),
            None => error,
        }
    }
}

#[async_trait]
impl Session for StandingSession {
    fn principal(&self) -> &Principal {
        &self.principal
    }

    async fn call(&self, id: RequestId, request: Request<'_>) -> Result<Response> {
        let opened = self.current.load_full();
        let again = again(&request);
        let error = match opened.0.call(id, request).await {
            Err(error) if error.kind() == ErrorKind::Unauthenticated => error,
            result => return result,
        };
        if self.ended.load(Ordering::Acquire) {
            return Err(error);
        }
        let opened = self.log_in_again(&opened).await?;
        match again {
            Some(request) => opened.0.call(id, request).await,
            None => Err(error),
        }
    }

    async fn logout(&self) {
        self.ended.store(true, Ordering::Release);
        // Who logs in at the moment is done first, so that its session is ended too.
        let _nobody_logs_in = self.logging_in.lock().await;
        self.current.load_full().0.logout().await;
    }
}

impl fmt::Debug for StandingSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StandingSession")
            .field("principal", &self.principal)
            .finish_non_exhaustive()
    }
}

fn ended() -> Error {
    Error::new(
        ErrorKind::Unauthenticated,
        "the session has ended; log in again",
    )
}

/// The same request once more, for what uses a key: nothing was done while nobody was logged in.
fn again<'a>(request: &Request<'a>) -> Option<Request<'a>> {
    Some(match request {
        Request::GetKey { key } => Request::GetKey { key: key.clone() },
        Request::AttestKey { key, nonce, pcrs } => Request::AttestKey {
            key: key.clone(),
            nonce: nonce.clone(),
            pcrs: *pcrs,
        },
        Request::ListVersions { name, page } => Request::ListVersions {
            name: name.clone(),
            page: page.clone(),
        },
        &Request::Sign {
            ref key,
            algorithm,
            input,
        } => Request::Sign {
            key: key.clone(),
            algorithm,
            input,
        },
        &Request::Verify {
            ref key,
            algorithm,
            input,
            signature,
        } => Request::Verify {
            key: key.clone(),
            algorithm,
            input,
            signature,
        },
        &Request::Mac {
            ref key,
            algorithm,
            message,
        } => Request::Mac {
            key: key.clone(),
            algorithm,
            message,
        },
        &Request::VerifyMac {
            ref key,
            algorithm,
            message,
            tag,
        } => Request::VerifyMac {
            key: key.clone(),
            algorithm,
            message,
            tag,
        },
        &Request::Encrypt {
            ref key,
            algorithm,
            plaintext,
            iv,
            aad,
        } => Request::Encrypt {
            key: key.clone(),
            algorithm,
            plaintext,
            iv,
            aad,
        },
        &Request::Decrypt {
            ref key,
            algorithm,
            ciphertext,
            aad,
        } => Request::Decrypt {
            key: key.clone(),
            algorithm,
            ciphertext,
            aad,
        },
        &Request::Wrap {
            ref key,
            algorithm,
            plaintext,
        } => Request::Wrap {
            key: key.clone(),
            algorithm,
            plaintext,
        },
        &Request::Unwrap {
            ref key,
            algorithm,
            wrapped,
        } => Request::Unwrap {
            key: key.clone(),
            algorithm,
            wrapped,
        },
        &Request::Agree {
            ref key,
            algorithm,
            peer,
        } => Request::Agree {
            key: key.clone(),
            algorithm,
            peer,
        },
        &Request::Encapsulate { ref key, algorithm } => Request::Encapsulate {
            key: key.clone(),
            algorithm,
        },
        &Request::Decapsulate {
            ref key,
            algorithm,
            ciphertext,
        } => Request::Decapsulate {
            key: key.clone(),
            algorithm,
            ciphertext,
        },
        &Request::Derive {
            ref key,
            algorithm,
            salt_or_label,
            info_or_context,
            len,
        } => Request::Derive {
            key: key.clone(),
            algorithm,
            salt_or_label,
            info_or_context,
            len,
        },
        &Request::Random { len } => Request::Random { len },
        _ => return None,
    })
}

/// How long credentials rest that were not taken.
const LOGIN_RETRY: Duration = Duration::from_secs(10);
