//! Files of `NumPy`: what it wrote is read, what is written is read back, damage is an error.

use crate::common;

use std::path::Path;

use common::{assert_same_bits, normal};
use pnn_core::{DType, Tensor, npy};

/// Written by `golden/generate.py npy`.
fn golden(name: &str) -> Tensor {
    npy::load(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/npy").join(name)).unwrap()
}

#[test]
fn what_numpy_wrote_is_read() {
    let want: Vec<f64> = (0..24).map(|k| f64::from(k) / 4.0).collect();
    let want = Tensor::from_vec(want, [2, 3, 4]).unwrap();
    assert_same_bits("f8", &golden("f8.npy"), &want);
    assert_same_bits("Fortran", &golden("fortran.npy"), &want);
    assert_same_bits("big endian", &golden("big-endian.npy"), &want);
    assert_same_bits("f4", &golden("f4.npy"), &want.to_dtype(DType::F32).unwrap());
    let both = Tensor::stack(&[&want, &(&want * -2.0).unwrap()]).unwrap();
    assert_same_bits("c16", &golden("c16.npy"), &both);
    assert_same_bits("c8", &golden("c8.npy"), &both.to_dtype(DType::F32).unwrap());
    assert_eq!(golden("scalar.npy").dims(), [] as [usize; 0]);
}

#[test]
fn what_is_written_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.npy");
    for dtype in [DType::F32, DType::F64] {
        for shape in [&[][..], &[0], &[7], &[3, 4], &[2, 1, 3, 2]] {
            let tensor = normal(1, shape, dtype);
            npy::save(&path, &tensor).unwrap();
            assert_same_bits("again", &npy::load(&path).unwrap(), &tensor);
        }
    }
    assert!(npy::save(&path, &Tensor::new([1u32]).unwrap()).is_err());
}

#[test]
fn damaged_files_are_errors_that_name_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.npy");
    npy::save(&path, &normal(1, &[3, 4], DType::F64)).unwrap();
    let whole = std::fs::read(&path).unwrap();
    for length in 0..whole.len() {
        std::fs::write(&path, &whole[..length]).unwrap();
        let error = npy::load(&path).unwrap_err().to_string();
        assert!(error.contains("damaged.npy"), "{length}: {error}");
    }
    let at = whole.windows(4).position(|window| window == b"3, 4").unwrap();
    for shape in [b"9,99", b"9**9", b"-1,4", b"    "] {
        let mut wrong = whole.clone();
        wrong[at..at + 4].copy_from_slice(shape);
        std::fs::write(&path, &wrong).unwrap();
        assert!(npy::load(&path).unwrap_err().to_string().contains("damaged.npy"), "{shape:?}");
    }
    let integers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/npy/i8.npy");
    let error = npy::load(&integers).unwrap_err().to_string();
    assert!(error.contains("<i8") && error.contains("f4, f8, c8 and c16"), "{error}");
    assert!(npy::load(Path::new("absent.npy")).unwrap_err().to_string().contains("absent.npy"));
}
