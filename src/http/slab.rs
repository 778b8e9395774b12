//! Places for connections, named by keys that are never valid twice.
//!
//! epoll may report an event for a connection that an earlier event of the same batch closed, and
//! a worker may give back a connection that is gone: a stale key finds nothing.

/// A place and which of its successive inhabitants is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Key {
    index: u32,
    generation: u32,
}

pub(super) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

struct Place<T> {
    generation: u32,
    value: Option<T>,
}

impl Key {
    /// As epoll carries it. Never `u64::MAX` or close to it: that would be place four billion.
    pub(super) fn to_u64(self) -> u64 {
        u64::from(self.index) << 32 | u64::from(self.generation)
    }

    pub(super) fn from_u64(bits: u64) -> Key {
        Key {
            index: (bits >> 32) as u32,
            generation: bits as u32,
        }
    }
}

impl<T> Slab<T> {
    pub(super) fn new() -> Slab<T> {
        Slab {
            places: Vec::new(),
            free: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }

    /// Puts in what `build` makes of its key.
    pub(super) fn insert(&mut self, build: impl FnOnce(Key) -> T) -> Key {
        let index = self.free.pop().unwrap_or_else(|| {
            self.places.push(Place {
                generation: 0,
                value: None,
            });
            // The caller bounds the number of connections far below four billion.
            (self.places.len() - 1) as u32
        });
        let place = &mut self.places[index as usize];
        let key = Key {
            index,
            generation: place.generation,
        };
        place.value = Some(build(key));
        key
    }

    pub(super) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let place = self.places.get_mut(key.index as usize)?;
        place
            .value
            .as_mut()
            .filter(|_| place.generation == key.generation)
    }

    pub(super) fn remove(&mut self, key: Key) -> Option<T> {
        self.get_mut(key)?;
        let place = self.places.get_mut(key.index as usize)?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(key.index);
        place.value.take()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.places.iter().zip(0..).filter_map(|(place, index)| {
            let key = Key {
                index,
                generation: place.generation,
            };
            Some((key, place.value.as_ref()?))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stale_key_finds_nothing() {
        let mut slab = Slab::new();
        let old = slab.insert(|_| "old");
        assert_eq!(slab.remove(old), Some("old"));
        let new = slab.insert(|_| "new");
        assert_eq!(slab.get_mut(old), None);
        assert_eq!(slab.remove(old), None);
        assert_eq!(slab.get_mut(new), Some(&mut "new"));
        assert_eq!(slab.len(), 1);
    }

    #[test]
    fn places_are_used_again() {
        let mut slab = Slab::new();
        for round in 0..100 {
            let key = slab.insert(|_| round);
            assert_eq!(slab.remove(key), Some(round));
        }
        assert_eq!(slab.places.len(), 1);
        assert_eq!(slab.iter().count(), 0);
    }

    #[test]
    fn key_survives_the_trip_through_epoll() {
        let key = Key {
            index: 7,
            generation: u32::MAX,
        };
        assert_eq!(Key::from_u64(key.to_u64()), key);
    }
}
