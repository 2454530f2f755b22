//! Tensors on disk: safetensors files with metadata, written whole or not at all.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use crate::{DType, Error, Result, Tensor};

/// Writes a file so that a reader sees the old content or the new, never a part: into a temporary
/// file in the same folder, synced, then renamed, then the folder synced.
///
/// # Errors
/// If the folder cannot be made, or the disk is full or not writable; the old file is then intact.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let io = |source| Error::Io { path: path.to_owned(), source };
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(io)?;
    let mut builder = tempfile::Builder::new();
    builder.prefix(".pnn-").suffix(".part");
    #[cfg(unix)]
    {
        // A temporary file is private by default; this one gets what the umask allows.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    let mut file = builder.tempfile_in(folder).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.as_file().sync_all().map_err(io)?;
    file.persist(path).map_err(|e| io(e.error))?;
    sync_folder(folder);
    Ok(())
}

/// Makes a rename in a folder last through a power cut. Not every file system can, so a failure is
/// no error: the file is whole either way.
pub fn sync_folder(folder: &Path) {
    if cfg!(unix)
        && let Ok(folder) = std::fs::File::open(folder)
    {
        let _ = folder.sync_all();
    }
}

/// Writes tensors (f32, f64 or u32) and metadata as a safetensors file, atomically. The bytes
/// depend on the content alone.
///
/// # Errors
/// If the file cannot be written.
pub fn save(
    path: &Path,
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    write_atomic(path, &encode(tensors, metadata).map_err(|error| of_file(path, error))?)
}

/// The bytes that [`save`] writes.
///
/// # Errors
/// If a tensor cannot be read.
pub fn encode(
    tensors: &BTreeMap<String, Tensor>,
    metadata: &BTreeMap<String, String>,
) -> Result<Vec<u8>> {
    let mut buffers = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let flat = tensor.flatten_all()?;
        let (dtype, bytes): (_, Vec<u8>) = match tensor.dtype() {
            DType::F32 => (Dtype::F32, bytes(&flat.to_vec1::<f32>()?, |v| v.to_le_bytes())),
            DType::F64 => (Dtype::F64, bytes(&flat.to_vec1::<f64>()?, |v| v.to_le_bytes())),
            DType::U32 => (Dtype::U32, bytes(&flat.to_vec1::<u32>()?, |v| v.to_le_bytes())),
        };
        buffers.push((name, dtype, tensor.dims().to_vec(), bytes));
    }
    let mut views = Vec::with_capacity(buffers.len());
    for (name, dtype, shape, bytes) in &buffers {
        let view =
            TensorView::new(*dtype, shape.clone(), bytes).map_err(|e| malformed(e.to_string()))?;
        views.push((name.as_str(), view));
    }
    // One metadata entry that holds a sorted map: the header's own map has no stable order.
    let json = serde_json::to_string(metadata).map_err(|e| malformed(e.to_string()))?;
    let header = HashMap::from([("pnn".to_owned(), json)]);
    safetensors::serialize(views, Some(header)).map_err(|e| malformed(e.to_string()))
}

/// Bytes that are of no file.
fn malformed(reason: String) -> Error {
    Error::Format { path: "bytes of a safetensors file".into(), reason }
}

fn of_file(path: &Path, error: Error) -> Error {
    match error {
        Error::Format { reason, .. } => Error::Format { path: path.to_owned(), reason },
        error => error,
    }
}

fn bytes<T: Copy, const N: usize>(values: &[T], encode: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|v| encode(*v)).collect()
}

/// What a safetensors file holds: tensors by name, and metadata.
pub type Stored = (BTreeMap<String, Tensor>, BTreeMap<String, String>);

/// Reads a safetensors file: its floating-point and u32 tensors (others, such as PyTorch's
/// counters of batches, are left out) and the metadata of [`save`].
///
/// # Errors
/// If the file is missing, truncated or malformed.
pub fn load(path: &Path) -> Result<Stored> {
    let bytes =
        std::fs::read(path).map_err(|source| Error::Io { path: path.to_owned(), source })?;
    decode(&bytes).map_err(|error| of_file(path, error))
}

/// What the bytes of a safetensors file hold, as [`load`].
///
/// # Errors
/// If they are truncated or malformed.
pub fn decode(bytes: &[u8]) -> Result<Stored> {
    let file = SafeTensors::deserialize(bytes)
        .map_err(|e| malformed(format!("not a whole safetensors file: {e}")))?;
    let mut tensors = BTreeMap::new();
    for (name, view) in file.tensors() {
        let (shape, data) = (view.shape(), view.data());
        let tensor = match view.dtype() {
            Dtype::F32 => Tensor::from_vec(values(data, f32::from_le_bytes), shape)?,
            Dtype::F64 => Tensor::from_vec(values(data, f64::from_le_bytes), shape)?,
            Dtype::U32 => Tensor::from_vec(values(data, u32::from_le_bytes), shape)?,
            _ => continue,
        };
        tensors.insert(name, tensor);
    }
    let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| malformed(e.to_string()))?;
    let metadata = match header.metadata().as_ref().and_then(|m| m.get("pnn")) {
        Some(json) => {
            serde_json::from_str(json).map_err(|e| malformed(format!("metadata: {e}")))?
        }
        None => BTreeMap::new(),
    };
    Ok((tensors, metadata))
}

fn values<T, const N: usize>(data: &[u8], decode: impl Fn([u8; N]) -> T) -> Vec<T> {
    let (chunks, _) = data.as_chunks::<N>();
    chunks.iter().map(|chunk| decode(*chunk)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Stored {
        let tensor = Tensor::new([[1.5f32, -0.0], [f32::MIN_POSITIVE, 3.0]]).unwrap();
        let steps = Tensor::new([3u32, 4]).unwrap();
        let metadata = [("seed", "7"), ("epoch", "2")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        ([("a".into(), tensor), ("steps".into(), steps)].into(), metadata.into())
    }

    #[test]
    fn what_is_saved_is_loaded_and_the_bytes_are_stable() {
        let folder = tempfile::tempdir().unwrap();
        let (tensors, metadata) = example();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        save(&one, &tensors, &metadata).unwrap();
        save(&two, &tensors, &metadata).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        let (loaded, meta) = load(&one).unwrap();
        assert_eq!(meta, metadata);
        let bits = |t: &Tensor| -> Vec<u32> {
            let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
            values.into_iter().map(f32::to_bits).collect()
        };
        assert_eq!(bits(&loaded["a"]), bits(&tensors["a"]));
        assert_eq!(loaded["steps"].to_vec1::<u32>().unwrap(), [3, 4]);
    }

    #[test]
    fn every_truncation_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let (tensors, metadata) = example();
        let path = folder.path().join("weights.safetensors");
        save(&path, &tensors, &metadata).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let error = load(&path).unwrap_err().to_string();
            assert!(error.contains("weights.safetensors"), "{error}");
        }
    }

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        write_atomic(&path, b"old").unwrap();
        // A folder in the way of the rename fails like a full disk does: before the rename.
        let blocked = folder.path().join("blocked");
        std::fs::create_dir(&blocked).unwrap();
        assert!(write_atomic(&blocked, b"new").is_err());
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "no leftovers");
    }
}
