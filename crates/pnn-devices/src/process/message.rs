//! What a payload says: tensors and words, as a safetensors file.

use std::collections::BTreeMap;

use pnn_core::{Tensor, store};

/// Tensors and words by name.
#[derive(Debug, Default)]
pub(super) struct Message {
    pub(super) words: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, Tensor>,
}

impl Message {
    pub(super) fn with(mut self, name: &str, words: impl Into<String>) -> Self {
        self.words.insert(name.to_owned(), words.into());
        self
    }

    pub(super) fn with_tensor(mut self, name: impl Into<String>, tensor: &Tensor) -> Self {
        self.tensors.insert(name.into(), tensor.detach());
        self
    }

    /// An entry of an answer, or in words that there is none.
    pub(super) fn word(&self, name: &str) -> Result<&str, String> {
        let word = self.words.get(name).map(String::as_str);
        word.ok_or_else(|| format!("left out {name:?} in its answer"))
    }

    pub(super) fn encoded(&self) -> pnn_core::Result<Vec<u8>> {
        store::encode(&self.tensors, &self.words)
    }

    /// What a payload says, or in words what is wrong with it.
    pub(super) fn decoded(payload: &[u8]) -> Result<Self, String> {
        let (tensors, words) = store::decode(payload)
            .map_err(|e| format!("sent a payload that cannot be read: {e}"))?;
        Ok(Self { words, tensors })
    }
}
