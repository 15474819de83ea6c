//! Published test vectors, run through a [`Service`](hsm_core::Service): Wycheproof, NIST's key wrap, RFC 5869, RFC 8009.

mod agreement;
mod bench;
mod derivation;
mod encryption;
mod key_wrap;
mod mac;
mod post_quantum;
mod report;
mod rsa;
mod signatures;

use std::num::NonZero;
use std::panic;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use futures_executor::block_on;

use self::bench::Bench;
pub use self::report::{Failure, FileReport, Report};
use crate::service::ServiceUnderTest;

/// Runs every vector that applies to an algorithm of the registry, and says what became of each.
///
/// `make` makes a new service, as for [`service_conformance!`](crate::service_conformance). It is called several times:
/// the vectors are shared out among as many threads as there are processors.
///
/// A vector's key is imported, used by requests of a session, deleted and purged. What a service answers with
/// [`Unsupported`](hsm_core::ErrorKind::Unsupported) is skipped, and the report says so. Vectors of signatures come with
/// public keys only, which an HSM does not take; they go to [`PublicKey::verify`](hsm_core::PublicKey::verify) and are
/// counted apart.
///
/// What a vector says is invalid must be refused, and a failed decryption, unwrapping or verification with the opaque
/// error: no message, no source.
///
/// # Panics
///
/// If the service does not let its administrator log in, or a vector cannot be read. A vector that fails is in the
/// report: see [`Report::assert_passed`].
///
/// ```no_run
/// use hsm_testkit::Model;
/// use hsm_testkit::service::ServiceUnderTest;
///
/// // Your own, whose only user is `ADMINISTRATOR`, with `PASSWORD`.
/// async fn new_service() -> ServiceUnderTest {
///     ServiceUnderTest::new(Model::new(Default::default()))
/// }
///
/// let report = hsm_testkit::vectors::run(new_service);
/// println!("{report}");
/// report.assert_passed();
/// ```
pub fn run<F>(make: impl Fn() -> F + Sync) -> Report
where
    F: Future<Output = ServiceUnderTest>,
{
    let jobs = Job::all();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
            done.extend(block_on(async {
                job.run(&mut Bench::new(make().await).await).await
            }));
        }
        done
    };
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let files = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.min(jobs.len()))
            .map(|_| scope.spawn(work))
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| {
                worker
                    .join()
                    .unwrap_or_else(|why| panic::resume_unwind(why))
            })
            .collect()
    });
    Report::new(files)
}

/// Vectors that run on one service, one after the other.
#[derive(Clone, Copy)]
enum Job {
    Agreement(&'static agreement::File),
    Derivation,
    Encryption,
    KeyWrap,
    Mac,
    NistKeyWrap(&'static key_wrap::NistFile),
    PostQuantum(&'static post_quantum::Set),
    Rsa,
    Signatures,
}

impl Job {
    /// What takes longest comes first.
    fn all() -> Vec<Self> {
        let short = [
            Self::Signatures,
            Self::Rsa,
            Self::KeyWrap,
            Self::Mac,
            Self::Encryption,
            Self::Derivation,
        ];
        let agreement = agreement::FILES.iter().rev().map(Self::Agreement);
        let nist = key_wrap::NIST_FILES.iter().map(Self::NistKeyWrap);
        let post_quantum = post_quantum::SETS.iter().map(Self::PostQuantum);
        agreement
            .chain(nist)
            .chain(post_quantum)
            .chain(short)
            .collect()
    }

    async fn run(self, bench: &mut Bench) -> Vec<FileReport> {
        match self {
            Self::Agreement(file) => vec![agreement::run(bench, file).await],
            Self::Derivation => derivation::run(bench).await,
            Self::Encryption => encryption::run(bench).await,
            Self::KeyWrap => key_wrap::run(bench).await,
            Self::Mac => mac::run(bench).await,
            Self::NistKeyWrap(file) => vec![key_wrap::run_nist(bench, file).await],
            Self::PostQuantum(set) => post_quantum::run(bench, set).await,
            Self::Rsa => rsa::run(bench).await,
            Self::Signatures => signatures::run(),
        }
    }
}
