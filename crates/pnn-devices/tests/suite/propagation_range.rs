//! Where each way to compute propagation holds, and what is said where it does not.

use crate::common::light;

use light::{GREEN, complex, energy, field, normal, off};
use num_complex::Complex;
use pnn_core::Tensor;
use pnn_devices::diffraction::{FreeSpace, Grid, Method};

/// Where the limits of the two meet they agree.
#[test]
fn the_integral_takes_over_where_the_spectrum_ends() {
    let grid = Grid::new(64, 64, 2e-6).unwrap();
    let space = |z: f64| FreeSpace::new(grid, z, &[GREEN]).unwrap();
    let (limit, forever) = space(1e-3).range_m(Method::Direct);
    let by_hand = 64.0 * 2e-6 * ((4e-6 / GREEN).powi(2) - 1.0).sqrt();
    assert!((limit - by_hand).abs() < 1e-15 && forever == f64::INFINITY);
    assert_eq!(space(0.99 * limit).method(), Method::AngularSpectrum);
    assert_eq!(space(1.01 * limit).method(), Method::Direct);
    let beam = field(&grid, |y, x| Complex::from((-(x * x + y * y) / (12e-6 * 12e-6)).exp()));
    let by = |method| {
        let there = space(limit).with_method(method).unwrap().propagate(&beam).unwrap();
        complex(&there)
    };
    let off = off(&by(Method::Direct), &by(Method::AngularSpectrum));
    assert!(off < 2e-3, "{off:e}");
    // Without padding the integral is refused, and never chosen.
    assert!(space(1.0).with_padding(false).unwrap().method() == Method::AngularSpectrum);
    let refused = space(1.0).with_padding(false).unwrap().with_method(Method::Direct);
    assert!(refused.unwrap_err().to_string().contains("without padding"));
}

/// What is sampled well says nothing; what is not names the distance and the limit.
#[test]
fn limits_of_free_space_are_stated() {
    let grid = Grid::new(128, 128, 2e-6).unwrap();
    let space = |z| FreeSpace::new(grid, z, &[GREEN]).unwrap();
    for z in [1e-6, 1e-3, 1e-2, 1.0] {
        assert!(space(z).warnings().is_empty(), "{z}");
    }
    let says = |space: &FreeSpace, wanted: &[&[&str]]| {
        let warnings = space.warnings();
        assert_eq!(warnings.len(), wanted.len(), "{warnings:?}");
        for (warning, parts) in warnings.iter().zip(wanted) {
            assert!(parts.iter().all(|part| warning.contains(part)), "{warning}");
        }
    };
    // S/2 sqrt((2 p / lambda)^2 - 1) with 256 pixels, and with 128 where nothing is padded.
    let forced = |z| space(z).with_method(Method::AngularSpectrum).unwrap();
    let unlimited = forced(5e-3).with_band_limit(false).unwrap();
    says(&unlimited, &[&["0.005 m", "without a band limit", "up to 1.908e-3 m"]]);
    let wrapped = unlimited.with_padding(false).unwrap();
    says(&wrapped, &[&["0.005 m", "comes back"], &["0.005 m", "up to 9.539e-4 m"]]);
    // With the band limit S/2 sqrt((S / 32 lambda)^2 - 1).
    says(&forced(7.6e-3), &[]);
    says(&forced(7.8e-3), &[&["0.0078 m", "64 at the shorter side", "up to 7.695e-3 m"]]);
    let direct = space(1e-3).with_method(Method::Direct).unwrap();
    says(&direct, &[&["0.001 m", "from 1.908e-3 m on"]]);
    // The cube root of pi r^4 / (4 lambda), r = 2 um . 128 . sqrt 2, is more than S p / lambda.
    let fresnel = |z| space(z).with_method(Method::Fresnel).unwrap();
    says(&fresnel(1e-3), &[&["0.001 m", "to a radian from 2.938e-3 m on"]]);
    says(&fresnel(1.0), &[&["1 m", "transfer function of Fresnel", "up to 1.925e-3 m"]]);
    let coarse = Grid::new(128, 128, 8e-6).unwrap();
    for (z, right) in [(18e-3, false), (19e-3, true), (30e-3, true), (31e-3, false)] {
        let fresnel = FreeSpace::new(coarse, z, &[GREEN]).unwrap().with_method(Method::Fresnel);
        assert_eq!(fresnel.unwrap().warnings().is_empty(), right, "{z}");
    }
}

/// The light of a single pixel takes all the directions there are: farther than the transfer function of Fresnel propagation
/// is sampled well it comes back.
#[test]
fn fresnel_light_wraps_around_beyond_its_limit() {
    let grid = Grid::new(64, 64, 8e-6).unwrap();
    let point = field(&grid, |y, x| Complex::from(f64::from(u8::from(y == 0.0 && x == 0.0))));
    let against = |share: f64| {
        let space = FreeSpace::new(grid, 1e-3, &[GREEN]).unwrap();
        let z = share * space.range_m(Method::Fresnel).1;
        let by = |method| {
            let space = space.clone().with_method(method).unwrap().with_distance_m(z).unwrap();
            complex(&space.propagate(&point).unwrap())
        };
        off(&by(Method::Fresnel), &by(Method::Direct))
    };
    let (at, beyond) = (against(1.0), against(2.0));
    assert!(at < 0.05 && beyond > 1.0, "{at} {beyond}");
}

/// The shorter side of a grid limits the spectra, the longer one the integral, and of several colours the
/// strictest counts.
#[test]
fn each_method_has_its_strict_side_and_colour() {
    let (long, high) = (Grid::new(8, 1024, 2e-6).unwrap(), Grid::new(1024, 8, 2e-6).unwrap());
    let (short, red) = (450e-9, 640e-9);
    let steep = |wavelength: f64| ((4e-6 / wavelength).powi(2) - 1.0).sqrt();
    for grid in [long, high] {
        let space = FreeSpace::new(grid, 1e-3, &[red, short]).unwrap();
        let close = |got: f64, want: f64| assert!((got / want - 1.0).abs() < 1e-12, "{got} {want}");
        let unlimited = space.clone().with_band_limit(false).unwrap();
        close(unlimited.range_m(Method::AngularSpectrum).1, 16e-6 * steep(red));
        // So few rows never have 64 frequencies but as long as all are kept.
        close(space.range_m(Method::AngularSpectrum).1, 16e-6 * steep(red));
        close(space.range_m(Method::Fresnel).1, 32e-6 * 2e-6 / red);
        close(space.range_m(Method::Direct).0, 2048e-6 * steep(short));
        // In between neither is right.
        assert_eq!(space.method(), Method::AngularSpectrum);
        let warnings = space.warnings();
        assert!(warnings.len() == 1 && warnings[0].contains("9.871e-5 m"), "{warnings:?}");
        assert!(space.clone().with_distance_m(9e-5).unwrap().warnings().is_empty());
        let far = space.with_distance_m(20e-3).unwrap();
        assert!(far.method() == Method::Direct && far.warnings().is_empty());
    }
}

/// On 8 rows light is that of 128 rows of which the others are dark, up to the limit of the 8.
#[test]
fn a_low_grid_is_right_up_to_its_own_limit() {
    let (low, high) = (Grid::new(8, 256, 2e-6).unwrap(), Grid::new(128, 256, 2e-6).unwrap());
    let beam = |grid: &Grid| {
        field(grid, |y, x| {
            let lit = f64::from(u8::from((-8e-6..8e-6).contains(&y)));
            Complex::from(lit * (-(x / 60e-6).powi(2) - (y / 5e-6).powi(2)).exp())
        })
    };
    let space = FreeSpace::new(low, 1e-3, &[GREEN]).unwrap().with_band_limit(false).unwrap();
    let limit = space.range_m(Method::AngularSpectrum).1;
    let against = |share: f64| {
        let by = |grid: Grid| {
            let space = FreeSpace::new(grid, share * limit, &[GREEN]).unwrap();
            let space = space.with_band_limit(false).unwrap();
            assert!(space.method() == Method::AngularSpectrum);
            space.propagate(&beam(&grid)).unwrap()
        };
        let middle = by(high).narrow(2, 60, 8).unwrap();
        off(&complex(&by(low)), &complex(&middle))
    };
    let (within, beyond) = (against(0.5), against(6.0));
    assert!(within < 0.01 && beyond > 0.1, "{within} {beyond}");
}

/// Pixels of less than half a wavelength: near, the angular spectrum with its evanescent waves is that of a much larger
/// grid, and the integral is far off and says so; from two pixels on the integral is right.
#[test]
fn fine_pixels_are_near_until_two_of_them() {
    let (grid, large) = (Grid::new(32, 32, 2e-7).unwrap(), Grid::new(384, 384, 2e-7).unwrap());
    let light = normal(5, &[1, 2, 32, 32]);
    let pixels: Vec<f64> = light.flatten_all().unwrap().to_vec1().unwrap();
    let mut embedded = vec![0.0; 2 * 384 * 384];
    for (place, value) in pixels.iter().enumerate() {
        let (plane, row, column) = (place / 1024, place / 32 % 32, place % 32);
        embedded[(plane * 384 + row + 176) * 384 + column + 176] = *value;
    }
    let embedded = Tensor::from_vec(embedded, [1, 2, 384, 384]).unwrap();
    let truth = |z: f64| {
        let space = FreeSpace::new(large, z, &[GREEN]).unwrap().with_band_limit(false).unwrap();
        let space = space.with_method(Method::AngularSpectrum).unwrap();
        let there = space.propagate(&embedded).unwrap();
        there.narrow(2, 176, 32).unwrap().narrow(3, 176, 32).unwrap()
    };
    let space = |z| FreeSpace::new(grid, z, &[GREEN]).unwrap();
    assert_eq!(space(1e-6).range_m(Method::Direct).0, 4e-7);
    assert_eq!(space(1e-6).range_m(Method::AngularSpectrum), (0.0, 4e-7));
    for (z, method) in [
        (5e-8, Method::AngularSpectrum),
        (2e-7, Method::AngularSpectrum),
        (3.9e-7, Method::AngularSpectrum),
        (4.1e-7, Method::Direct),
        (1e-6, Method::Direct),
        (1e-4, Method::Direct),
    ] {
        let space = space(z);
        assert!(space.method() == method && space.warnings().is_empty(), "{z:e}");
        if z < 5e-6 {
            let there = space.propagate(&light).unwrap();
            let truth = truth(z);
            let error = (energy(&(&there - &truth).unwrap()) / energy(&truth)).sqrt();
            assert!(error < 0.05, "{z:e}: {error}");
            assert!(energy(&there) < energy(&light), "{z:e}");
        }
    }
    let forced = |z, method| space(z).with_method(method).unwrap();
    let near = forced(5e-8, Method::Direct);
    assert!(energy(&near.propagate(&light).unwrap()) > 5.0 * energy(&light));
    let warnings = near.warnings();
    assert!(warnings[0].contains("0.00000005 m") && warnings[0].contains("from 4.000e-7 m on"));
    let far = forced(1e-6, Method::AngularSpectrum).warnings();
    assert!(far[0].contains("0.000001 m") && far[0].contains("up to 4.000e-7 m"), "{far:?}");
}
