//! Propagation against analytic optics, by every method within its range.

use crate::common::light;

use std::f64::consts::{PI, TAU};
use std::path::Path;

use light::{GREEN, complex, energy, field, normal, off};
use num_complex::Complex;
use pnn_core::testing::{GradientCheck, check_gradients};
use pnn_core::{DType, Tensor, Var, store};
use pnn_devices::diffraction::{FreeSpace, Grid, Method};
use proptest::prelude::*;

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

/// The power of each frequency in 1/m (fy, fx), transformed here and not by the code under test.
fn spectrum(light: &Tensor, grid: &Grid) -> Vec<((f64, f64), f64)> {
    let (light, count) = (complex(light), (grid.height * grid.width) as f64);
    let pixels = || (0..grid.height).flat_map(|y| (0..grid.width).map(move |x| (y, x)));
    let share = |number: usize, side: usize| number as f64 / side as f64;
    let wave = |(fy, fx): (usize, usize), (y, x): (usize, usize)| {
        let turns = share(fy * y, grid.height) + share(fx * x, grid.width);
        Complex::from_polar(1.0, -TAU * turns)
    };
    // The upper half of the numbers stands for negative frequencies.
    let signed = |share: f64| if share < 0.5 { share } else { share - 1.0 } / grid.pitch_m;
    let of = |frequency: (usize, usize)| {
        let sum: Complex<f64> =
            pixels().zip(&light).map(|(pixel, v)| wave(frequency, pixel) * v).sum();
        let (fy, fx) = (share(frequency.0, grid.height), share(frequency.1, grid.width));
        ((signed(fy), signed(fx)), sum.norm_sqr() / count)
    };
    pixels().map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// Parseval: the power there is the sum over the frequencies, of which those that travel keep theirs, and evanescent
    /// ones keep `exp(-4 pi z sqrt(f^2 - 1/lambda^2))`. The Fresnel approximation has none that are evanescent.
    #[test]
    fn travelling_waves_keep_their_power_and_evanescent_ones_lose_it(
        height in 1..9usize,
        width in 1..9usize,
        pitch in 0.05e-6..0.8e-6,
        exponent in -8.0..-2.0,
        seed in any::<u64>(),
    ) {
        let (grid, distance) = (Grid::new(height, width, pitch).unwrap(), 10f64.powf(exponent));
        let light = normal(seed, &[1, 2, height, width]);
        let power = energy(&light);
        let there = periodic(grid, distance, Method::AngularSpectrum).propagate(&light).unwrap();
        let kept = |(fy, fx): (f64, f64)| {
            let squared = fy * fy + fx * fx - 1.0 / (GREEN * GREEN);
            (-4.0 * PI * distance * squared.max(0.0).sqrt()).exp()
        };
        let want: f64 = spectrum(&light, &grid).iter().map(|(f, power)| kept(*f) * power).sum();
        prop_assert!((energy(&there) - want).abs() < 1e-9 * power, "{} {want}", energy(&there));
        if 2.0 * pitch >= GREEN {
            let there = periodic(grid, distance, Method::Fresnel).propagate(&light).unwrap();
            prop_assert!((energy(&there) / power - 1.0).abs() < 1e-12);
        }
    }
}

/// Every method, with the distance at which it is tried on a square grid: each within its range, and so without a warning.
fn each_method(grid: Grid) -> Vec<FreeSpace> {
    let space = |method, share: f64| {
        let space = FreeSpace::new(grid, 1e-3, &[GREEN]).unwrap();
        let (from, to) = space.range_m(method);
        let z = if method == Method::Direct { from / share } else { share * to };
        space.with_distance_m(z).unwrap().with_method(method).unwrap()
    };
    let (sampled, band_limited) =
        (space(Method::Direct, 1.0).distance_m(), space(Method::AngularSpectrum, 0.4));
    let exact = band_limited.clone().with_band_limit(false).unwrap();
    let spaces = vec![
        exact.with_distance_m(0.99 * sampled).unwrap(),
        band_limited.clone().with_distance_m(0.99 * sampled).unwrap(),
        band_limited,
        space(Method::Fresnel, 0.99),
        space(Method::Direct, 0.99),
        space(Method::Direct, 0.4),
        space(Method::Direct, 0.1),
    ];
    for space in &spaces {
        assert!(space.warnings().is_empty(), "{:?}", space.warnings());
    }
    spaces
}

/// What a method and a distance are called when a test fails.
fn name(space: &FreeSpace) -> String {
    format!("{:?} over {:e} m", space.method(), space.distance_m())
}

/// A beam that stays within the grid keeps its power, and a way in two parts is the whole one. The integral is not
/// unitary by construction; its whole way is compared with two parts by the angular spectrum.
#[test]
fn a_beam_keeps_its_power_by_every_method_and_ways_add_up() {
    let grid = Grid::new(128, 128, 8e-6).unwrap();
    // Wide enough to be within a third of the grid behind 0.1 m.
    let beam = field(&grid, |y, x| gaussian(y, x, 128e-6, 0.0));
    for space in each_method(grid).into_iter().filter(|space| space.distance_m() < 0.1) {
        let there = space.propagate(&beam).unwrap();
        let kept = energy(&there) / energy(&beam);
        assert!((kept - 1.0).abs() < 1e-6, "{}: {kept}", name(&space));
        let method = match space.method() {
            Method::Direct => Method::AngularSpectrum,
            method => method,
        };
        let part = |share: f64| {
            let part = space.clone().with_distance_m(share * space.distance_m()).unwrap();
            part.with_method(method).unwrap()
        };
        let both = part(0.6).propagate(&part(0.4).propagate(&beam).unwrap()).unwrap();
        let off = off(&complex(&both), &complex(&there));
        assert!(off < 1e-6, "{}: {off:e}", name(&space));
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

/// A round hole; a pixel at its rim has the part of it that lies inside.
fn disc(grid: &Grid, radius: f64) -> Tensor {
    let pitch = grid.pitch_m;
    let part = |i: i32| ((f64::from(i) + 0.5) / 16.0 - 0.5) * pitch;
    let inside = |y: f64, x: f64| {
        let counted = (0..256).filter(|n| (y + part(n / 16)).hypot(x + part(n % 16)) <= radius);
        counted.count() as f64 / 256.0
    };
    field(grid, |y, x| Complex::new(inside(y, x), 0.0))
}

/// Bessel's function of the first kind and order, by its series.
fn j1(x: f64) -> f64 {
    let mut term = 0.5 * x;
    let mut sum = term;
    for m in 1..40 {
        let m = f64::from(m);
        term *= -0.25 * x * x / (m * (m + 1.0));
        sum += term;
    }
    sum
}

/// Far behind a round hole of radius `a` are Airy's rings: `(pi a^2 / lambda z)^2 (2 J1(v) / v)^2` with `v = 2 pi a r / (lambda z)`, dark at
/// `v` = 3.83 and 7.02, between which the first ring has 1.75 % of the middle (Goodman, Introduction to Fourier Optics, 4.4.2).
#[test]
fn far_behind_a_round_hole_there_are_airys_rings() {
    let (grid, radius, z) = (Grid::new(225, 225, 8e-6).unwrap(), 48e-6, 70e-3);
    let space = FreeSpace::new(grid, z, &[GREEN]).unwrap();
    assert_eq!((space.method(), space.warnings().len()), (Method::Direct, 0));
    let there = complex(&space.propagate(&disc(&grid, radius)).unwrap());
    let middle = PI * radius * radius / (GREEN * z);
    let along: Vec<(f64, f64)> = (0..113)
        .map(|column| {
            let v = TAU * radius * f64::from(column) * 8e-6 / (GREEN * z);
            // A rim of part-covered pixels is that of the hole blurred by a pixel, whose own pattern is a factor.
            let u = PI * 8e-6 * f64::from(column) * 8e-6 / (GREEN * z);
            let pixel = if u == 0.0 { 1.0 } else { (u.sin() / u).powi(2) };
            let power = there[112 * 225 + 112 + column as usize].norm_sqr();
            (v, power / middle.powi(2) / pixel)
        })
        .collect();
    for (v, got) in &along {
        let want = if *v == 0.0 { 1.0 } else { (2.0 * j1(*v) / v).powi(2) };
        // The hole is pi a^2 / (lambda z) = 0.19 rad deep.
        assert!((got - want).abs() < 0.006, "{v}: {got} {want}");
    }
    let between = |low: f64, high: f64| {
        along.iter().filter(move |(v, _)| (low..high).contains(v)).map(|p| p.1)
    };
    assert!(between(3.7, 4.0).fold(1.0, f64::min) < 5e-4);
    let ring = between(4.5, 6.0).fold(0.0, f64::max);
    assert!((ring - 0.0175).abs() < 3e-4, "{ring}");
}

/// The Rayleigh-Sommerfeld integral has a closed form on the axis behind a disc of radius `a`:
/// `exp(i k z) - z / R exp(i k R)`, `R^2 = z^2 + a^2` (Osterberg and Smith, J. Opt. Soc. Am. 51, 1050, 1961); its paraxial
/// one is `exp(i k z) (1 - exp(i pi a^2 / (lambda z)))`. Pixels at the rim are weighed by the part of them that lies inside.
#[test]
fn behind_a_disc_the_axis_is_bright_and_dark_as_theory_says() {
    let (grid, radius) = (Grid::new(129, 129, 8e-6).unwrap(), 320e-6);
    let disc = disc(&grid, radius);
    let mut levels = Vec::new();
    for space in each_method(grid) {
        let (z, k) = (space.distance_m(), TAU / GREEN);
        let there = complex(&space.propagate(&disc).unwrap())[64 * 129 + 64];
        let (slant, straight) = (z.hypot(radius), Complex::from_polar(1.0, k * z));
        let want = match space.method() {
            Method::Fresnel => {
                let turned = Complex::from_polar(1.0, PI * radius * radius / (GREEN * z));
                straight * (Complex::new(1.0, 0.0) - turned)
            }
            _ => straight - Complex::from_polar(z / slant, k * slant),
        };
        // The phase turns by `d` over a pixel at the rim, and the mean of a pixel is less than its middle by d^2 / 24; a band
        // limit takes some of the rim's light too.
        let turn = k * radius * grid.pitch_m / z;
        let limited = if space.method() == Method::AngularSpectrum { 0.01 } else { 0.0 };
        let allowed = 1.2 * turn * turn / 24.0 + limited;
        assert!((there - want).norm() < allowed, "{}: {there} {want}", name(&space));
        levels.push(want.norm());
    }
    // From dark to bright.
    assert!(levels.iter().any(|v| *v < 0.7) && levels.iter().any(|v| *v > 1.4), "{levels:?}");
}

/// Far behind a hole of `a` x `a` the field has the size `a^2 / (lambda z) sinc(a x / (lambda z)) sinc(a y / (lambda z))`
/// (Goodman, 4.4.1), at least three zeros of it on the grid.
#[test]
fn far_behind_a_hole_there_are_its_fringes_by_every_method() {
    let (grid, hole) = (Grid::new(256, 256, 8e-6).unwrap(), 64e-6);
    // Symmetric about half a pixel.
    let within = |x: f64| f64::from(u8::from((x + 4e-6).abs() < hole / 2.0));
    let light = field(&grid, |y, x| Complex::new(within(y) * within(x), 0.0));
    for space in each_method(grid) {
        let z = space.distance_m();
        let there = complex(&space.propagate(&light).unwrap());
        let largest = hole * hole / (GREEN * z);
        let sinc = |x: f64| {
            let u = PI * hole * (x + 4e-6) / (GREEN * z);
            if u == 0.0 { 1.0 } else { u.sin() / u }
        };
        let want = grid.map(|y, x| (sinc(y) * sinc(x)).powi(2));
        let off = there.iter().zip(&want).map(|(v, w)| v.norm_sqr() / largest.powi(2) - w);
        let off = off.fold(0.0, |most: f64, off| most.max(off.abs()));
        // The hole is pi a^2 / (2 lambda z) rad deep at its corners, up to 0.2; ends of the band ripple.
        let rippled = space.method() == Method::AngularSpectrum && z > 0.07;
        let allowed = if rippled { 0.06 } else { 0.007 };
        assert!(off < allowed, "{}: {off}", name(&space));
        let zero = GREEN * z / hole;
        let near = (0..256).filter(|c| (grid.position_m(*c, 256) + 4e-6 - zero).abs() < 8e-6);
        let row = &there[128 * 256..];
        let darkest = near.map(|c| row[c].norm_sqr() / largest.powi(2)).fold(1.0, f64::min);
        let reached = zero < 128.0 * 8e-6;
        assert!(!reached || darkest < 2e-3 || rippled, "{}: {darkest}", name(&space));
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
