//! Measured tables, kept on disk under the hash of what they were measured from.
//!
//! The cache only saves time: what cannot be read is measured again, what cannot be written is
//! measured again the next time.

use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Write;
use std::path::PathBuf;

/// Names the directory of the cache; an empty value turns it off.
pub const VARIABLE: &str = "LUTWEAVE_CACHE";

/// A directory of measurements.
#[derive(Clone, Debug)]
pub struct Cache {
    directory: Option<PathBuf>,
}

impl Cache {
    /// The user's cache: `$LUTWEAVE_CACHE`, or `lutweave` in `$XDG_CACHE_HOME` or `~/.cache`.
    pub fn of_user() -> Self {
        let named = |variable: &str| std::env::var_os(variable).map(PathBuf::from);
        let absolute = |path: &PathBuf| path.is_absolute();
        let directory = match named(VARIABLE) {
            Some(path) => Some(path).filter(|path| !path.as_os_str().is_empty()),
            None => named("XDG_CACHE_HOME")
                .filter(absolute)
                .or_else(|| Some(named("HOME").filter(absolute)?.join(".cache")))
                .map(|path| path.join("lutweave")),
        };
        Self { directory }
    }

    /// What was stored under a key; `None` if nothing was, or it cannot be read.
    pub fn load<T: DeserializeOwned>(&self, kind: &str, key: &blake3::Hash) -> Option<T> {
        let bytes = std::fs::read(self.path(kind, key)?).ok()?;
        serde_json::from_slice(&bytes).ok()
    }

    /// Stores a value whole or not at all.
    pub fn store<T: Serialize>(&self, kind: &str, key: &blake3::Hash, value: &T) {
        // A full disk or a read-only home costs time on the next run, nothing else.
        let _ = self.try_store(kind, key, value);
    }

    fn try_store<T: Serialize>(&self, kind: &str, key: &blake3::Hash, value: &T) -> Option<()> {
        let path = self.path(kind, key)?;
        let folder = path.parent()?;
        std::fs::create_dir_all(folder).ok()?;
        let mut file = tempfile::NamedTempFile::new_in(folder).ok()?;
        file.write_all(&serde_json::to_vec(value).ok()?).ok()?;
        file.persist(path).ok()?;
        Some(())
    }

    fn path(&self, kind: &str, key: &blake3::Hash) -> Option<PathBuf> {
        Some(self.directory.as_ref()?.join(kind).join(format!("{}.json", key.to_hex())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_damage_does_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { directory: Some(folder.path().join("new")) };
        let key = blake3::hash(b"model");
        assert_eq!(cache.load::<Vec<u64>>("tables", &key), None);
        cache.store("tables", &key, &vec![1u64, u64::MAX]);
        assert_eq!(cache.load("tables", &key), Some(vec![1u64, u64::MAX]));
        assert_eq!(cache.load::<Vec<u64>>("tables", &blake3::hash(b"other")), None);
        std::fs::write(cache.path("tables", &key).unwrap(), b"[1, 2").unwrap();
        assert_eq!(cache.load::<Vec<u64>>("tables", &key), None);
    }

    /// A warm cache gives the bytes that a cold one does.
    #[test]
    fn numbers_come_back_to_the_last_bit() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache { directory: Some(folder.path().to_path_buf()) };
        let key = blake3::hash(b"drop");
        let numbers = [0.001_286_128_811_419_250_7f64, 1.0 / 3.0, 5e-324, 1.797_693_134_862_315_7e308];
        cache.store("drops", &key, &numbers);
        assert_eq!(cache.load::<[f64; 4]>("drops", &key), Some(numbers));
    }

    #[test]
    fn no_cache_stores_nothing() {
        let (cache, key) = (Cache { directory: None }, blake3::hash(b"model"));
        cache.store("tables", &key, &1u64);
        assert_eq!(cache.load::<u64>("tables", &key), None);
    }
}
