//! All versions of a key, from HSMs whose pages are as short as they like.

use std::future::Future;

use hsm_core::limits::KEY_VERSIONS_MAX;
use hsm_core::{Error, ErrorKind, KeyInfo, Page, PageRequest, Result};

/// All versions, in the order of the HSM, page by page.
///
/// # Errors
///
/// Those of `ask`, and [`LimitExceeded`](ErrorKind::LimitExceeded) above [`KEY_VERSIONS_MAX`] versions, or for pages without
/// end.
pub(crate) async fn all<P>(ask: impl Fn(PageRequest) -> P) -> Result<Vec<KeyInfo>>
where
    P: Future<Output = Result<Page<KeyInfo>>>,
{
    let mut versions = Vec::new();
    let mut after = None;
    for _ in 0..KEY_VERSIONS_MAX {
        let limit = Some(KEY_VERSIONS_MAX);
        let Page { items, next } = ask(PageRequest { after, limit }).await?;
        versions.extend(items);
        if versions.len() > KEY_VERSIONS_MAX {
            break;
        }
        if next.is_none() {
            return Ok(versions);
        }
        after = next;
    }
    Err(Error::new(
        ErrorKind::LimitExceeded,
        format!("the HSM lists more than {KEY_VERSIONS_MAX} versions of the key"),
    ))
}
