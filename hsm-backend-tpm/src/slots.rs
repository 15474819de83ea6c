//! [`Slots`]: which keys are loaded in the few places that a TPM has for them. What was used last stays; what was not used
//! for longest makes room.

use crate::command::Entity;

/// Keys by the number that the device gave them, in the order of their last use.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    places: usize,
    loaded: Vec<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    key: u64,
    handle: u32,
    /// It cannot be loaded again: it goes when it is done.
    is_fixed: bool,
}

impl Slots {
    pub(crate) fn new(places: usize) -> Self {
        Self {
            places,
            loaded: Vec::with_capacity(places),
        }
    }

    /// The handle of a key, if it is loaded. It was used just now.
    pub(crate) fn find(&mut self, key: u64) -> Option<u32> {
        let at = self.loaded.iter().position(|loaded| loaded.key == key)?;
        self.loaded[at..].rotate_left(1);
        self.loaded.last().map(|loaded| loaded.handle)
    }

    /// Notes that a key was loaded.
    pub(crate) fn insert(&mut self, key: u64, handle: u32) {
        self.loaded.push(Loaded {
            key,
            handle,
            is_fixed: false,
        });
    }

    /// Notes that something was loaded that only [`remove`](Self::remove) takes out.
    pub(crate) fn insert_fixed(&mut self, key: u64, handle: u32) {
        self.loaded.push(Loaded {
            key,
            handle,
            is_fixed: true,
        });
    }

    /// Whether another key needs one of these to go.
    pub(crate) fn is_full(&self) -> bool {
        self.loaded.len() >= self.places
    }

    /// Takes out what was not used for longest and is not in `busy`. The caller flushes it.
    pub(crate) fn evict(&mut self, busy: &[Entity]) -> Option<u32> {
        let is_busy = |handle: u32| busy.iter().any(|entity| entity.handle == handle);
        let at = self
            .loaded
            .iter()
            .position(|loaded| !loaded.is_fixed && !is_busy(loaded.handle))?;
        Some(self.loaded.remove(at).handle)
    }

    /// Takes out a key. The caller flushes it.
    pub(crate) fn remove(&mut self, key: u64) -> Option<u32> {
        let at = self.loaded.iter().position(|loaded| loaded.key == key)?;
        Some(self.loaded.remove(at).handle)
    }

    /// Takes out everything.
    pub(crate) fn clear(&mut self) -> Vec<u32> {
        self.loaded.drain(..).map(|loaded| loaded.handle).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_not_used_for_longest_goes() {
        let mut slots = Slots::new(3);
        for key in 1..=3 {
            assert!(!slots.is_full());
            slots.insert(key, u32::try_from(key).unwrap() * 10);
        }
        assert!(slots.is_full());
        assert_eq!(slots.find(1), Some(10));
        assert_eq!(slots.find(4), None);
        assert_eq!(slots.evict(&[]), Some(20));
        assert_eq!(slots.evict(&[Entity::object(30, b"")]), Some(10));
        assert_eq!(slots.evict(&[Entity::object(30, b"")]), None);
        assert_eq!(slots.remove(3), Some(30));
        assert_eq!(slots.remove(3), None);
        slots.insert_fixed(4, 40);
        assert_eq!(slots.evict(&[]), None, "it cannot be loaded again");
        slots.insert(5, 50);
        assert_eq!(slots.clear(), [40, 50]);
        assert_eq!(slots.find(5), None);
    }
}
