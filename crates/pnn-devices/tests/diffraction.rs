//! Propagation against analytic optics.
#![allow(clippy::unwrap_used)] // a test panics where it fails

use std::f64::consts::{PI, TAU};
use std::path::Path;

use num_complex::Complex;
use pnn_core::ops::Sampling;
use pnn_core::testing::{GradientCheck, check_gradients, conformance};
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor, Var, store};
use pnn_devices::diffraction::{
    Detectors, Diffractive, Element, FreeSpace, Grid, Method, Region, SHOT_NOISE,
    saturable_absorber,
};
use proptest::prelude::*;

const GREEN: f64 = 532e-9;

/// (1, 2, height, width) from positions in m.
fn field(grid: &Grid, f: impl Fn(f64, f64) -> Complex<f64>) -> Tensor {
    let mut values = grid.map(|y, x| f(y, x).re);
    values.extend(grid.map(|y, x| f(y, x).im));
    Tensor::from_vec(values, [1, 2, grid.height, grid.width]).unwrap()
}

fn complex(field: &Tensor) -> Vec<Complex<f64>> {
    let values = field.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let (re, im) = values.split_at(values.len() / 2);
    re.iter().zip(im).map(|(re, im)| Complex::new(*re, *im)).collect()
}

fn energy(field: &Tensor) -> f64 {
    complex(field).iter().map(Complex::norm_sqr).sum()
}

fn normal(seed: u64, shape: &[usize]) -> Tensor {
    Seed::new(seed).tensor(rand_distr::StandardNormal, shape, DType::F64).unwrap()
}

/// Largest difference over the largest value.
fn off(got: &[Complex<f64>], want: &[Complex<f64>]) -> f64 {
    let largest = want.iter().map(|v| v.norm()).fold(0.0, f64::max);
    got.iter().zip(want).map(|(g, w)| (g - w).norm()).fold(0.0, f64::max) / largest
}

/// Space that wraps around and leaves nothing out: what theory speaks of.
fn periodic(grid: Grid, distance: f64, method: Method) -> FreeSpace {
    let space = FreeSpace::new(grid, distance, &[GREEN]).unwrap();
    let space = space.with_padding(false).unwrap().with_band_limit(false).unwrap();
    space.with_method(method).unwrap()
}

#[test]
fn a_plane_wave_gets_the_phase_of_its_way() {
    let grid = Grid::new(16, 24, 1e-6).unwrap();
    for (fy, fx) in [(0.0, 0.0), (3.0, -5.0), (-7.0, 11.0)] {
        let (fy, fx) = (fy / 16e-6, fx / 24e-6);
        let wave = field(&grid, |y, x| Complex::from_polar(1.0, TAU * (fy * y + fx * x)));
        let squared = 1.0 / (GREEN * GREEN) - fy * fy - fx * fx;
        let there = periodic(grid, 3e-3, Method::AngularSpectrum).propagate(&wave).unwrap();
        let turn = Complex::from_polar(1.0, TAU * squared.sqrt() * 3e-3);
        let want: Vec<_> = complex(&wave).iter().map(|v| v * turn).collect();
        assert!(off(&complex(&there), &want) < 1e-11);
        // The paraxial phase is the first two terms of the root.
        let there = periodic(grid, 1e-5, Method::Fresnel).propagate(&wave).unwrap();
        let turn = TAU * 1e-5 * (1.0 / GREEN - 0.5 * GREEN * (fy * fy + fx * fx));
        let want: Vec<_> =
            complex(&wave).iter().map(|v| v * Complex::from_polar(1.0, turn)).collect();
        assert!(off(&complex(&there), &want) < 1e-11);
    }
    // Waves finer than the wavelength decay: exp(-2 pi z sqrt(f^2 - 1/lambda^2)).
    let fine = Grid::new(1, 16, 2e-7).unwrap();
    let f = 7.0 / 3.2e-6;
    let wave = field(&fine, |_, x| Complex::from_polar(1.0, TAU * f * x));
    let there = periodic(fine, 1e-7, Method::AngularSpectrum).propagate(&wave).unwrap();
    let decay = (-TAU * 1e-7 * (f * f - 1.0 / (GREEN * GREEN)).sqrt()).exp();
    assert!(decay < 0.7);
    let want: Vec<_> = complex(&wave).iter().map(|v| v * decay).collect();
    assert!(off(&complex(&there), &want) < 1e-12);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Energy is kept where nothing is evanescent, and two halves are one whole.
    #[test]
    fn light_is_kept_and_ways_add_up(
        height in 1..20usize,
        width in 1..20usize,
        distance in 1e-5..1e-2,
        part in 0.1..0.9,
        fresnel in any::<bool>(),
        seed in any::<u64>(),
    ) {
        let method = if fresnel { Method::Fresnel } else { Method::AngularSpectrum };
        let grid = Grid::new(height, width, 0.8e-6).unwrap();
        let light = normal(seed, &[1, 2, height, width]);
        let whole = periodic(grid, distance, method).propagate(&light).unwrap();
        prop_assert!((energy(&whole) / energy(&light) - 1.0).abs() < 1e-12);
        let first = periodic(grid, part * distance, method).propagate(&light).unwrap();
        let both = periodic(grid, (1.0 - part) * distance, method).propagate(&first).unwrap();
        // Phases of up to 1e5 rad have rounding errors of 1e-11.
        prop_assert!(off(&complex(&both), &complex(&whole)) < 1e-9);
    }
}

/// Saleh and Teich, Fundamentals of Photonics, 3.1.
fn gaussian(y: f64, x: f64, waist: f64, z: f64) -> Complex<f64> {
    let rayleigh = PI * waist * waist / GREEN;
    let q = Complex::new(z, -rayleigh);
    let k = TAU / GREEN;
    let curved = Complex::i() * k * (x * x + y * y) / (2.0 * q);
    Complex::new(0.0, -rayleigh) / q * curved.exp() * Complex::from_polar(1.0, k * z)
}

/// A beam of 20 um, whose angles are so small that what is not paraxial is a part in a thousand.
#[test]
fn a_gaussian_beam_spreads_as_it_should() {
    let grid = Grid::new(128, 128, 2e-6).unwrap();
    let beam = field(&grid, |y, x| gaussian(y, x, 20e-6, 0.0));
    for z in [0.5e-3, 2.4e-3, 4.5e-3] {
        let want = complex(&field(&grid, |y, x| gaussian(y, x, 20e-6, z)));
        let free = FreeSpace::new(grid, z, &[GREEN]).unwrap();
        for method in [Method::AngularSpectrum, Method::Fresnel, Method::Automatic] {
            let there = free.clone().with_method(method).unwrap().propagate(&beam).unwrap();
            let off = off(&complex(&there), &want);
            let allowed = if method == Method::Fresnel { 1e-5 } else { 2e-3 };
            assert!(off < allowed, "{method:?} at {z}: {off:e}");
        }
    }
}

/// Where the limits of the two meet they agree.
#[test]
fn the_integral_takes_over_where_the_spectrum_ends() {
    let grid = Grid::new(64, 64, 2e-6).unwrap();
    let space = |z: f64| FreeSpace::new(grid, z, &[GREEN]).unwrap();
    let limit = space(1e-3).limit_m();
    let by_hand = 64.0 * 2e-6 * ((4e-6 / GREEN).powi(2) - 1.0).sqrt();
    assert!((limit - by_hand).abs() < 1e-15);
    assert_eq!(space(0.99 * limit).method(), Method::AngularSpectrum);
    assert_eq!(space(1.01 * limit).method(), Method::Direct);
    let beam = field(&grid, |y, x| gaussian(y, x, 12e-6, 0.0));
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

/// The Rayleigh-Sommerfeld integral has a closed form on the axis behind a disc of radius `a`:
/// `exp(i k z) - z / R exp(i k R)`, `R^2 = z^2 + a^2` (Osterberg and Smith, J. Opt. Soc. Am. 51, 1050,
/// 1961). Pixels at the rim are weighed by the part of them that lies inside.
#[test]
fn behind_a_disc_the_axis_is_bright_and_dark_as_theory_says() {
    let (grid, radius) = (Grid::new(129, 129, 2e-6).unwrap(), 80e-6);
    let inside = |y: f64, x: f64| {
        let part = |i: i32| (f64::from(i) + 0.5) / 16.0 - 0.5;
        let counted = (0..256).filter(|n| {
            let (dy, dx) = (part(n / 16) * 2e-6, part(n % 16) * 2e-6);
            (y + dy).hypot(x + dx) <= radius
        });
        counted.count() as f64 / 256.0
    };
    let disc = field(&grid, |y, x| Complex::new(inside(y, x), 0.0));
    for z in [2e-3, 3.01e-3, 4e-3, 6.02e-3, 8e-3, 20e-3] {
        let space = FreeSpace::new(grid, z, &[GREEN]).unwrap();
        let there = complex(&space.propagate(&disc).unwrap());
        let (k, slant) = (TAU / GREEN, z.hypot(radius));
        let want = Complex::from_polar(1.0, k * z) - Complex::from_polar(z / slant, k * slant);
        let got = there[64 * 129 + 64];
        // From 0 to 2; pixels hide the rim.
        assert!((got - want).norm() < 0.05, "{z}: {got} {want}");
    }
}

/// Far behind a slit of width `a` the intensity is `sinc^2(a x / (lambda z))`.
#[test]
fn far_behind_a_slit_there_are_its_fringes() {
    let (grid, pixels) = (Grid::new(8, 1024, 4e-6).unwrap(), 8.0);
    let (slit, z) = (pixels * 4e-6, 25e-3);
    // Symmetric about half a pixel; the height of the grid wraps around, which makes the slit endless.
    let at = |x: f64| x + 2e-6;
    let light =
        field(&grid, |_, x| Complex::new(f64::from(u8::from(at(x).abs() < slit / 2.0)), 0.0));
    let there = complex(&periodic(grid, z, Method::AngularSpectrum).propagate(&light).unwrap());
    let row = &there[4 * 1024..5 * 1024];
    let brightest = row.iter().map(|v| v.norm_sqr()).fold(0.0, f64::max);
    for (column, value) in row.iter().enumerate().take(960).skip(64) {
        let x = at(grid.position_m(column, 1024));
        let u = PI * slit * x / (GREEN * z);
        let want = if u == 0.0 { 1.0 } else { (u.sin() / u).powi(2) };
        let got = value.norm_sqr() / brightest;
        assert!((got - want).abs() < 0.015, "{x:e}: {got} {want}");
    }
    let zero = GREEN * z / slit;
    let near = (0..1024).filter(|c| (at(grid.position_m(*c, 1024)) - zero).abs() < 30e-6);
    let darkest = near.map(|c| row[c].norm_sqr() / brightest).fold(1.0, f64::min);
    assert!(darkest < 2e-3, "{darkest}");
}

#[test]
fn what_leaves_at_one_side_does_not_come_back_at_the_other() {
    let grid = Grid::new(32, 32, 2e-6).unwrap();
    let edge = field(&grid, |y, x| gaussian(y, x - 28e-6, 4e-6, 0.0));
    let far_side = |space: FreeSpace| {
        let there = complex(&space.propagate(&edge).unwrap());
        (0..32)
            .flat_map(|row| (0..8).map(move |column| row * 32 + column))
            .map(|at| there[at].norm_sqr())
            .sum::<f64>()
    };
    let space = || FreeSpace::new(grid, 0.4e-3, &[GREEN]).unwrap();
    let (padded, wrapped) = (far_side(space()), far_side(space().with_padding(false).unwrap()));
    assert!(wrapped > 10.0 * padded, "{padded:e} {wrapped:e}");
}

/// Fields and gradients equal PyTorch's, to 1e-10 in double and 1e-5 in single precision.
#[test]
fn fields_and_gradients_are_those_of_pytorch() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/diffraction.safetensors");
    let (tensors, metadata) = store::load(&file).unwrap();
    let cases: Vec<serde_json::Value> = serde_json::from_str(&metadata["cases"]).unwrap();
    assert_eq!(cases.len(), 4);
    for case in cases {
        let (name, number) =
            (case["name"].as_str().unwrap(), |key: &str| case[key].as_f64().unwrap());
        let get = |part: &str| &tensors[&format!("{name}/{part}")];
        let &[2, height, width] = get("field").dims() else { panic!("{name}") };
        let padded = case["padded"].as_bool().unwrap();
        let grid = Grid::new(height, width, number("pitch")).unwrap();
        let space = FreeSpace::new(grid, number("distance"), &[number("wavelength")]).unwrap();
        let space = space.with_method(Method::AngularSpectrum).unwrap();
        let space = space.with_padding(padded).unwrap().with_band_limit(padded).unwrap();
        for (dtype, tolerance) in [(DType::F64, 1e-10), (DType::F32, 1e-5)] {
            let typed = |part: &str| get(part).to_dtype(dtype).unwrap();
            let field = Var::new(&typed("field"));
            let y = space.propagate(&field.tensor()).unwrap();
            let loss = (&y * typed("g")).unwrap().sum_all().unwrap();
            let gradients = loss.backward().unwrap();
            let found = [("y", &y), ("dfield", gradients.get(&field.tensor()).unwrap())];
            for (part, got) in found {
                let got = complex(&got.to_dtype(DType::F64).unwrap());
                let off = off(&got, &complex(get(part)));
                assert!(off < tolerance, "{name} {part} {dtype:?}: {off:e}");
            }
        }
    }
}

#[test]
fn gradients_and_several_wavelengths() {
    let grid = Grid::new(3, 4, 1e-6).unwrap();
    let colours = [450e-9, GREEN, 640e-9];
    for method in [Method::AngularSpectrum, Method::Fresnel, Method::Direct] {
        let space = FreeSpace::new(grid, 2e-5, &colours).unwrap().with_method(method).unwrap();
        let light = normal(1, &[2, 3, 2, 3, 4]);
        let propagate = |t: &[Tensor]| {
            space.propagate(&t[0]).map_err(|e| match e {
                pnn_devices::Error::Core(e) => e,
                other => panic!("{other}"),
            })
        };
        check_gradients(std::slice::from_ref(&light), propagate, &GradientCheck::default())
            .unwrap();
        // Each colour by itself.
        let all = space.propagate(&light).unwrap();
        for (number, colour) in colours.iter().enumerate() {
            let alone =
                FreeSpace::new(grid, 2e-5, &[*colour]).unwrap().with_method(method).unwrap();
            let own = |t: &Tensor| t.narrow(1, number, 1).unwrap().reshape([2, 2, 3, 4]).unwrap();
            let (got, want) = (own(&all), alone.propagate(&own(&light)).unwrap());
            assert!(off(&complex(&got), &complex(&want)) < 1e-15);
        }
    }
}

#[test]
fn what_cannot_be_is_named() {
    for (height, width, pitch, says) in [
        (0, 4, 1e-6, "height of the grid is 0"),
        (4, 0, 1e-6, "width of the grid is 0"),
        (4, 4, 0.0, "pixel pitch in m is 0"),
        (4, 4, f64::NAN, "pixel pitch in m is NaN"),
    ] {
        let error = Grid::new(height, width, pitch).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let grid = Grid::new(4, 4, 1e-6).unwrap();
    for (distance, wavelengths, says) in [
        (0.0, &[GREEN][..], "distance in m is 0"),
        (-1.0, &[GREEN], "distance in m is -1"),
        (1.0, &[], "number of wavelengths is 0"),
        (1.0, &[GREEN, f64::INFINITY], "wavelength in m is inf"),
    ] {
        let error = FreeSpace::new(grid, distance, wavelengths).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    let fine = FreeSpace::new(Grid::new(4, 4, 2e-7).unwrap(), 1e-6, &[GREEN]).unwrap();
    assert_eq!((fine.limit_m(), fine.method()), (0.0, Method::Direct));
    let error = fine.with_method(Method::Fresnel).unwrap_err().to_string();
    assert!(error.contains("is 0.0000002") && error.contains("half"), "{error}");
    let space = FreeSpace::new(grid, 1e-3, &[GREEN]).unwrap();
    for shape in [&[1, 2, 4, 5][..], &[1, 1, 4, 4], &[4, 4]] {
        assert!(space.propagate(&Tensor::zeros(shape, DType::F64).unwrap()).is_err());
    }
}

#[test]
fn an_absorber_swallows_what_is_weak_and_keeps_the_phase() {
    let light = normal(1, &[3, 2, 4, 5]);
    let there = saturable_absorber(&light, 0.5).unwrap();
    for sample in 0..3 {
        let of = |t: &Tensor| complex(&t.narrow(0, sample, 1).unwrap());
        let (before, after) = (of(&light), of(&there));
        let mean = before.iter().map(Complex::norm_sqr).sum::<f64>() / 20.0;
        let dark = after.iter().filter(|v| v.norm() == 0.0).count();
        assert!((1..19).contains(&dark), "{dark}");
        for (before, after) in before.iter().zip(&after) {
            let want = (before.norm_sqr() - 0.5 * mean).max(0.0);
            assert!((after.norm_sqr() - want).abs() < 1e-14);
            assert!(want == 0.0 || (after / before).im.abs() < 1e-15);
        }
    }
    let same = saturable_absorber(&light, 0.0).unwrap();
    assert!(off(&complex(&same), &complex(&light)) == 0.0);
    for fraction in [0.0, 0.3, 0.5, 1.2] {
        let absorb = |t: &[Tensor]| saturable_absorber(&t[0], fraction);
        check_gradients(&[normal(7, &[2, 2, 3, 4])], absorb, &GradientCheck::default()).unwrap();
    }
    let dark = Tensor::zeros([1, 2, 2, 2], DType::F64).unwrap();
    assert_eq!(energy(&saturable_absorber(&dark, 0.5).unwrap()), 0.0);
    for (fraction, shape) in
        [(-0.1, &[1, 2, 2, 2][..]), (f64::NAN, &[1, 2, 2, 2]), (0.5, &[1, 3, 2, 2])]
    {
        assert!(saturable_absorber(&Tensor::zeros(shape, DType::F64).unwrap(), fraction).is_err());
    }
}

#[test]
fn detectors_sum_the_power_of_their_regions() {
    let grid = Grid::new(4, 6, 1e-6).unwrap();
    let regions = [
        Region { top: 0, left: 0, height: 2, width: 3 },
        Region { top: 1, left: 2, height: 3, width: 4 }, // overlaps the first
    ];
    let detectors = Detectors::new(grid, &regions).unwrap();
    let light = normal(1, &[2, 3, 2, 4, 6]);
    let powers = detectors.powers(&light).unwrap();
    assert_eq!(powers.dims(), [2, 2]);
    let values = light.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    let mut want = [0.0; 4];
    for (place, value) in values.iter().enumerate() {
        let (sample, row, column) = (place / 144, place / 6 % 4, place % 6);
        for (number, r) in regions.iter().enumerate() {
            let inside = (r.top..r.top + r.height).contains(&row)
                && (r.left..r.left + r.width).contains(&column);
            want[2 * sample + number] += if inside { value * value } else { 0.0 };
        }
    }
    for (got, want) in powers.flatten_all().unwrap().to_vec1::<f64>().unwrap().iter().zip(want) {
        assert!((got - want).abs() < 1e-12, "{got} {want}");
    }
    check_gradients(&[light], |t| detectors.powers(&t[0]), &GradientCheck::default()).unwrap();
    let published = Detectors::published(Grid::new(128, 128, 2e-6).unwrap()).unwrap();
    let corners: Vec<_> = published.regions().iter().map(|r| (r.top, r.left)).collect();
    assert_eq!(corners[..4], [(32, 32), (32, 59), (32, 86), (59, 32)]);
    assert_eq!(corners[4..], [(59, 50), (59, 68), (59, 86), (86, 32), (86, 59), (86, 86)]);
    for (region, says) in [
        (Region { top: 2, left: 0, height: 3, width: 1 }, "last row of a detector is 4"),
        (Region { top: 0, left: 6, height: 1, width: 1 }, "last column of a detector is 6"),
        (Region { top: 0, left: 0, height: 0, width: 1 }, "rows of a detector is 0"),
        (Region { top: 0, left: 0, height: 1, width: 0 }, "columns of a detector is 0"),
    ] {
        let error = Detectors::new(grid, &[region]).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
    }
    assert!(Detectors::new(grid, &[]).is_err());
    assert!(detectors.powers(&normal(1, &[2, 2, 4, 5])).is_err());
}

/// A small network of every element, for one and for two wavelengths.
fn network(wavelengths: &[f64], absorber: bool) -> Diffractive {
    let grid = Grid::new(6, 5, 2e-6).unwrap();
    let space = |z| Element::Space(FreeSpace::new(grid, z, wavelengths).unwrap());
    let aperture =
        Tensor::from_vec((0..30).map(|k| f64::from(u8::from(k % 7 != 0))).collect(), [6, 5]);
    let mut elements = vec![
        space(20e-6),
        Element::Lens { focal_length_m: 1e-3 },
        Element::Mask,
        Element::Amplitude(aperture.unwrap()),
        space(30e-6),
        Element::Mask,
        space(10e-6),
    ];
    if absorber {
        // Little, so that no pixel is near where light begins to pass: the slope is endless there.
        elements.insert(3, Element::Absorber { fraction: 0.01 });
    }
    let regions = [
        Region { top: 0, left: 0, height: 3, width: 3 },
        Region { top: 2, left: 1, height: 4, width: 4 },
    ];
    Diffractive::new(grid, wavelengths, &elements, Detectors::new(grid, &regions).unwrap()).unwrap()
}

#[test]
fn diffractive_networks_conform() {
    let light = normal(1, &[3, 6, 5]).abs().unwrap();
    for wavelengths in [&[GREEN][..], &[GREEN, 640e-9]] {
        for absorber in [false, true] {
            // Nearest neighbours do not notice the small deviations that the suite tries.
            let network = network(wavelengths, absorber).with_sampling(Sampling::Bilinear);
            conformance(&network, &light, &Seed::new(4)).unwrap();
        }
    }
}

/// Amplitude masks among phase masks, and alone.
#[test]
fn amplitude_masks_are_trained_bounded_rounded_and_moved() {
    let grid = Grid::new(6, 5, 2e-6).unwrap();
    let space = |z| Element::Space(FreeSpace::new(grid, z, &[GREEN]).unwrap());
    let region = |top| Region { top, left: 1, height: 3, width: 3 };
    let detectors = || Detectors::new(grid, &[region(0), region(3)]).unwrap();
    let light = normal(1, &[3, 6, 5]).abs().unwrap();
    let both =
        [Element::AmplitudeMask, space(20e-6), Element::Mask, space(30e-6), Element::AmplitudeMask];
    for elements in [&both[..], &both[..2]] {
        let network = Diffractive::new(grid, &[GREEN], elements, detectors()).unwrap();
        conformance(&network.with_sampling(Sampling::Bilinear), &light, &Seed::new(4)).unwrap();
    }
    let network = Diffractive::new(grid, &[GREEN], &both, detectors()).unwrap();
    let names: Vec<_> = network.controls().iter().map(|c| (c.name, c.shape[0])).collect();
    assert_eq!(names, [("phase", 1), ("transmission", 2)]);
    let bounds = network.controls()[1].bounds;
    assert_eq!((bounds.low, bounds.high), (0.0, 1.0));
    let controls = network.init(&Seed::new(1), DType::F64).unwrap();
    let drives = network.drives(&controls).unwrap();
    assert_eq!((drives[0].port, drives[1].port), ("phase_error_turn", "transmission_error"));

    // The second amplitude mask is the third panel; what is moved away lets no light pass.
    let ideal = Deviations::none();
    let moved = ideal.clone().with("shift_x_px", Tensor::new(&[0.0, 0.0, 1.0][..]).unwrap());
    let shown = |deviations: &Deviations| -> Vec<Vec<f64>> {
        let masks = network.amplitude_masks(&controls, deviations).unwrap();
        masks.iter().map(|mask| mask.flatten_all().unwrap().to_vec1().unwrap()).collect()
    };
    let (still, shifted) = (shown(&ideal), shown(&moved));
    assert_eq!(still[0], shifted[0]);
    for row in 0..6 {
        assert_eq!(shifted[1][row * 5], 0.0);
        assert_eq!(shifted[1][row * 5 + 1..row * 5 + 5], still[1][row * 5..row * 5 + 4]);
    }
    let fields = network.fields(&light, &controls, &ideal).unwrap();
    for (pixel, (before, behind)) in
        complex(&fields[0]).into_iter().zip(complex(&fields[1])).enumerate()
    {
        assert!((behind - before * still[0][pixel % 30]).norm() < 1e-15);
    }
    let all = network.controls()[1].shape.clone();
    let bad = controls.iter().map(|(name, value)| match name {
        "transmission" => (name.to_owned(), Tensor::full(f64::NAN, all.clone()).unwrap()),
        _ => (name.to_owned(), value.clone()),
    });
    let error = network.forward(&light, &bad.collect(), &ideal).unwrap_err().to_string();
    assert!(error.starts_with("transmission of mask 0, row 0, column 0 is NaN"), "{error}");
}

/// What is said of the published network holds of its parts.
#[test]
fn the_published_network_is_its_elements_in_a_row() {
    let network = Diffractive::published().unwrap();
    let controls = network.init(&Seed::new(1), DType::F64).unwrap();
    let light = normal(2, &[1, 128, 128]).abs().unwrap();
    let fields = network.fields(&light, &controls, &Deviations::none()).unwrap();
    assert_eq!(fields.len(), 12);
    // Space, lenses and masks keep the light; the two absorbers do not.
    for (number, pair) in fields.windows(2).enumerate() {
        let kept = energy(&pair[1]) / energy(&pair[0]);
        let absorber = number == 4 || number == 7;
        assert!(if absorber { kept < 0.9 } else { (kept - 1.0).abs() < 1e-9 }, "{number}: {kept}");
    }
    let powers = network.forward(&light, &controls, &Deviations::none()).unwrap();
    assert_eq!(powers.dims(), [1, 10]);
    let shares = powers.flatten_all().unwrap().to_vec1::<f64>().unwrap();
    assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-12);
    // Phases are shown less whole turns.
    let drive = &network.drives(&controls).unwrap()[0];
    let shown = drive.setting.elements::<f64>().unwrap();
    assert!(shown.iter().all(|p| (0.0..1.0).contains(p)));
}

#[test]
fn networks_that_cannot_be_are_named() {
    let grid = Grid::new(6, 5, 2e-6).unwrap();
    let detectors =
        || Detectors::new(grid, &[Region { top: 0, left: 0, height: 1, width: 1 }]).unwrap();
    let error = |wavelengths: &[f64], elements: &[Element]| {
        Diffractive::new(grid, wavelengths, elements, detectors()).unwrap_err().to_string()
    };
    assert!(error(&[GREEN], &[]).contains("number of masks is 0"));
    assert!(error(&[], &[Element::Mask]).contains("number of wavelengths is 0"));
    assert!(error(&[f64::NAN], &[Element::Mask]).contains("wavelength in m is NaN"));
    let lens = Element::Lens { focal_length_m: 0.0 };
    assert!(error(&[GREEN], &[Element::Mask, lens]).contains("focal length in m is 0"));
    let hole = Element::Amplitude(Tensor::ones([5, 6], DType::F64).unwrap());
    assert!(error(&[GREEN], &[Element::Mask, hole]).contains("aperture has shape [5, 6]"));
    for (value, says) in [(f64::NAN, "is NaN"), (1.5, "is 1.5")] {
        let hole = Element::Amplitude(Tensor::full(value, [6, 5]).unwrap());
        let error = error(&[GREEN], &[Element::Mask, hole]);
        assert!(error.contains("transmission of an aperture") && error.contains(says), "{error}");
    }
    let absorber = Element::Absorber { fraction: f64::NAN };
    let error_of_absorber = error(&[GREEN], &[Element::Mask, absorber]);
    assert!(error_of_absorber.contains("absorbed fraction of the mean intensity is NaN"));
    let other = FreeSpace::new(grid, 1e-3, &[640e-9]).unwrap();
    assert!(
        error(&[GREEN], &[Element::Mask, Element::Space(other)]).contains("those of the network")
    );
    let network = network(&[GREEN], false);
    let controls = network.init(&Seed::new(1), DType::F64).unwrap();
    let dark = network.forward(
        &Tensor::zeros([2, 5, 6], DType::F64).unwrap(),
        &controls,
        &Deviations::none(),
    );
    assert!(dark.unwrap_err().to_string().contains("(batch, 6, 5)"));
}

/// The light on its way ends, in each stretch of space, as the field behind that.
#[test]
fn light_on_its_way_is_that_of_the_planes() {
    for wavelengths in [&[GREEN][..], &[GREEN, 640e-9]] {
        let network = network(wavelengths, true);
        let controls = network.init(&Seed::new(2), DType::F64).unwrap();
        let (x, turned) = (
            normal(1, &[1, 6, 5]).abs().unwrap(),
            Deviations::none().with("rotation_deg", Tensor::new(5.0).unwrap()),
        );
        let (distances, rows) = network.along_axis(&x, &controls, &turned, 5e-6).unwrap();
        // 20, 30 and 10 um in steps of 5.
        let want: Vec<f64> = (0..=12).map(|k| f64::from(k) * 5e-6).collect();
        assert_eq!(distances.len(), want.len());
        assert!(distances.iter().zip(&want).all(|(a, b)| (a - b).abs() < 1e-18), "{distances:?}");
        assert_eq!(rows.dims(), [13, 5]);
        let fields = network.fields(&x, &controls, &turned).unwrap();
        let spaces = network.elements().iter().enumerate();
        let behind = spaces.filter(|(_, e)| matches!(e, Element::Space(_))).map(|(k, _)| k + 1);
        for (row, plane) in [0, 4, 10, 12].into_iter().zip([0].into_iter().chain(behind)) {
            let got: Vec<f64> =
                rows.narrow(0, row, 1).unwrap().flatten_all().unwrap().to_vec1().unwrap();
            let field = &fields[plane];
            let planes = field.elem_count() / 30;
            let middle = field.reshape([planes, 6, 5]).unwrap().narrow(1, 3, 1).unwrap();
            let want = middle.sqr().unwrap().sum(0).unwrap().flatten_all().unwrap();
            for (got, want) in got.iter().zip(want.to_vec1::<f64>().unwrap()) {
                assert!((got - want).abs() < 1e-14, "row {row}: {got} {want}");
            }
        }
        let error = network.along_axis(&x, &controls, &turned, 0.0).unwrap_err().to_string();
        assert!(error.contains("step along the axis in m is 0"), "{error}");
    }
}

/// The published network computes with less than light needs, and says so; what is sampled well says nothing.
#[test]
fn limits_of_a_simulation_are_stated() {
    let grid = Grid::new(128, 128, 2e-6).unwrap();
    let space = |z| FreeSpace::new(grid, z, &[GREEN]).unwrap();
    // M p / 2 sqrt((2 p / lambda)^2 - 1) with M = 256, and with 128 where nothing is padded.
    assert!((space(1e-3).limit_m() - 1.9078e-3).abs() < 1e-7);
    for z in [1e-6, 1e-3, 1e-2, 1.0] {
        assert!(space(z).warnings().is_empty(), "{z}");
    }
    let forced = space(5e-3).with_method(Method::AngularSpectrum).unwrap();
    assert!(forced.warnings().is_empty());
    let unlimited = forced.with_band_limit(false).unwrap().warnings();
    assert!(unlimited[0].contains("0.005 m") && unlimited[0].contains("up to 1.908e-3 m"));
    let direct = space(1e-3).with_method(Method::Direct).unwrap().warnings();
    assert!(
        direct[0].contains("0.001 m") && direct[0].contains("from 1.908e-3 m on"),
        "{direct:?}"
    );
    // The cube root of pi r^4 / (4 lambda), r = 2 um . 128 . sqrt 2.
    let near = space(1e-3).with_method(Method::Fresnel).unwrap().warnings();
    assert!(near[0].contains("more than 2.938e-3 m"), "{near:?}");
    assert!(space(1.0).with_method(Method::Fresnel).unwrap().warnings().is_empty());

    let published = Diffractive::published().unwrap().warnings();
    assert_eq!(published.len(), 6, "{published:?}");
    for (says, times) in [("comes back", 3), ("up to 9.539e-4 m", 3)] {
        assert_eq!(published.iter().filter(|w| w.contains(says)).count(), times, "{says}");
    }
    // N p^2 / lambda.
    let lens = |focal_length_m| {
        let elements = [Element::Lens { focal_length_m }, Element::Mask];
        let detectors = Detectors::published(grid).unwrap();
        Diffractive::new(grid, &[GREEN], &elements, detectors).unwrap().warnings()
    };
    assert!(lens(1e-3).is_empty() && lens(-1e-3).is_empty());
    assert!(lens(9e-4)[0].contains("lens of 0.0009 m") && lens(9e-4)[0].contains("9.624e-4 m"));
}

#[test]
fn a_mask_that_is_no_number_is_named() {
    let network = network(&[GREEN], false);
    let controls = network.init(&Seed::new(1), DType::F64).unwrap();
    let mut phases: Vec<f64> =
        controls.get("phase").unwrap().flatten_all().unwrap().to_vec1().unwrap();
    phases[30 + 2 * 5 + 3] = f64::NAN;
    let bad = Controls::one("phase", Tensor::from_vec(phases, [2, 6, 5]).unwrap());
    let x = Tensor::ones([1, 6, 5], DType::F64).unwrap();
    let error = network.forward(&x, &bad, &Deviations::none()).unwrap_err().to_string();
    let want = "phase in turns of mask 1, row 2, column 3 is NaN, allowed is finite";
    assert_eq!(error, want);
    let endless = Deviations::none().with("phase_error_turn", Tensor::new(f64::INFINITY).unwrap());
    let error = network.forward(&x, &controls, &endless).unwrap_err().to_string();
    assert!(error.contains("mask 0, row 0, column 0 is inf"), "{error}");
}

/// Detectors count photons before their powers are compared.
#[test]
fn shot_noise_comes_before_the_shares() {
    let network = network(&[GREEN], true);
    let controls = network.init(&Seed::new(1), DType::F64).unwrap();
    let x = normal(1, &[2, 6, 5]).abs().unwrap();
    let fields = network.fields(&x, &controls, &Deviations::none()).unwrap();
    let powers = network.detectors().powers(&fields[fields.len() - 1]).unwrap();
    let powers: Vec<f64> = powers.flatten_all().unwrap().to_vec1().unwrap();
    let noise = [0.1, -0.05, 0.02, 0.3];
    let shots = Tensor::from_vec(noise.to_vec(), [2, 2]).unwrap();
    let y = network.forward(&x, &controls, &Deviations::none().with(SHOT_NOISE, shots)).unwrap();
    let y: Vec<f64> = y.flatten_all().unwrap().to_vec1().unwrap();
    let read: Vec<f64> = powers.iter().zip(noise).map(|(p, s)| p + s * p.sqrt()).collect();
    for (pair, read) in y.chunks(2).zip(read.chunks(2)) {
        let total = read[0] + read[1];
        assert!(
            (pair[0] - read[0] / total).abs() < 1e-14 && (pair[1] - read[1] / total).abs() < 1e-14
        );
    }
}
