//! What becomes of secrets in memory: [`LockedPage`] holds the domain key, [`wiping_stack`] clears what libraries leave.

use std::fmt;

use hsm_core::Result;
use memmap2::MmapMut;
use zeroize::{Zeroize, zeroize_stack};

use crate::error::failed_io;

/// 32 secret bytes in a page of their own: locked, so that they do not reach the swap device, left out of core dumps,
/// and wiped on drop.
///
/// Systems limit how much memory a process may lock (`ulimit -l`). When the system refuses, the page works as any other
/// and [`is_locked`](Self::is_locked) says so.
pub(crate) struct LockedPage {
    page: MmapMut,
    locked: bool,
}

impl LockedPage {
    /// Bytes that a page holds.
    pub(crate) const LEN: usize = 32;

    /// Maps a page and lets `fill` write the secret in place.
    pub(crate) fn init_with(fill: impl FnOnce(&mut [u8]) -> Result<()>) -> Result<Self> {
        let page = MmapMut::map_anon(Self::LEN)
            .map_err(|source| failed_io("no memory for the domain key", source))?;
        // One may work where the other does not.
        let (locked, left_out) = (page.lock().is_ok(), leave_out_of_dumps(&page));
        let mut this = Self {
            page,
            locked: locked && left_out,
        };
        fill(&mut this.page)?;
        Ok(this)
    }

    /// The one way to the bytes; reviewers search for it.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.page
    }

    /// Whether the system keeps the page in memory and out of core dumps.
    pub(crate) fn is_locked(&self) -> bool {
        self.locked
    }
}

impl Drop for LockedPage {
    fn drop(&mut self) {
        self.page.zeroize();
    }
}

impl fmt::Debug for LockedPage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockedPage")
            .field("locked", &self.locked)
            .finish_non_exhaustive()
    }
}

/// How far down the stack the use of a key goes. What is not optimized goes further.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Depth {
    /// 16 KiB: nearly everything.
    Usual,
    /// 160 KiB: what expands seeds into polynomials, or computes tables of points.
    Deep,
    /// 640 KiB: ML-DSA of the crate `ml-dsa`, which was seen to use 500 KiB.
    Deepest,
}

/// Runs `body`, then wipes the stack that it used. Whoever moves a parsed key leaves the bytes where it was, and
/// libraries do.
pub(crate) fn wiping_stack<R>(depth: Depth, body: impl FnOnce() -> R) -> R {
    let result = in_frames_below(body);
    match depth {
        Depth::Usual => zeroize_stack::<{ stack_len(16, 128) }>(),
        Depth::Deep => zeroize_stack::<{ stack_len(160, 256) }>(),
        Depth::Deepest => zeroize_stack::<{ stack_len(640, 1024) }>(),
    }
    result
}

#[inline(never)]
fn in_frames_below<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// Bytes, of KiB with optimization and without.
const fn stack_len(optimized: usize, not: usize) -> usize {
    if cfg!(debug_assertions) {
        not << 10
    } else {
        optimized << 10
    }
}

#[cfg(target_os = "linux")]
fn leave_out_of_dumps(page: &MmapMut) -> bool {
    page.advise(memmap2::Advice::DontDump).is_ok()
}

/// Other systems have no such advice.
#[cfg(not(target_os = "linux"))]
fn leave_out_of_dumps(_page: &MmapMut) -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_was_filled_in_and_hides_it() {
        let page = LockedPage::init_with(|bytes| {
            bytes.fill(0xa5);
            Ok(())
        })
        .unwrap();
        assert_eq!(page.expose(), [0xa5; 32]);
        let debug = format!("{page:?}");
        assert!(!debug.contains("165") && !debug.contains("a5"), "{debug}");
    }
}
