//! Masks, detectors and what is between them.

use crate::common::light;

use light::{GREEN, complex, energy, normal, off};
use num_complex::Complex;
use pnn_core::ops::Sampling;
use pnn_core::testing::{GradientCheck, check_gradients, conformance};
use pnn_core::{Controls, DType, Deviations, PhysicalLayer, Seed, Tensor};
use pnn_devices::diffraction::{
    Detectors, Diffractive, Element, FreeSpace, Grid, Method, READOUT_ERROR, Region, SHOT_NOISE,
    saturable_absorber, saturable_film,
};

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
        (Region { top: usize::MAX, left: 0, height: 1, width: 1 }, "last row of a detector is 184"),
        (Region { top: 1, left: 0, height: usize::MAX, width: 1 }, "last row of a detector is 184"),
        (Region { top: 0, left: 2, height: 1, width: usize::MAX }, "last column of a detector is"),
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
        elements.insert(7, Element::SaturableFilm { depth: 0.5, saturation: 0.4 });
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
fn amplitude_masks_are_trained_bounded_and_moved() {
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
    // Errors do not make a modulator amplify, or turn light by half a turn.
    for error in [3.0, -3.0] {
        let wrong = ideal.clone().with("transmission_error", Tensor::new(error).unwrap());
        assert!(shown(&wrong).concat().iter().all(|t| *t == f64::from(u8::from(error > 0.0))));
    }
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
    let beyond = controls.get("phase").unwrap().affine(5.0, -2.0).unwrap();
    let drive = &network.drives(&Controls::one("phase", beyond)).unwrap()[0];
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
    let finer = Grid::new(6, 5, 1e-6).unwrap();
    let fine = Detectors::new(finer, &[Region { top: 0, left: 0, height: 1, width: 1 }]).unwrap();
    let error_of_grid =
        Diffractive::new(grid, &[GREEN], &[Element::Mask], fine).unwrap_err().to_string();
    assert!(
        error_of_grid.contains("pitch in m of the 6 x 5 grid of the detectors is 0.000001"),
        "{error_of_grid}"
    );
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

/// The published network computes with less than light needs, and says so.
#[test]
fn limits_of_the_published_network_are_stated() {
    let grid = Grid::new(128, 128, 2e-6).unwrap();
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

/// Thermal noise is of the powers, in parts of all light that is detected, and shares are taken afterwards.
#[test]
fn thermal_noise_comes_before_the_shares() {
    let network = network(&[GREEN], true);
    let controls = network.init(&Seed::new(1), DType::F64).unwrap();
    let x = normal(1, &[2, 6, 5]).abs().unwrap();
    let values = |t: &Tensor| -> Vec<f64> { t.flatten_all().unwrap().to_vec1().unwrap() };
    let clean = values(&network.forward(&x, &controls, &Deviations::none()).unwrap());
    let noise = [0.1, -0.05, 0.02, 0.3];
    let thermal = |x: &Tensor| {
        let noise = Tensor::from_vec(noise.to_vec(), [2, 2]).unwrap();
        network.forward(x, &controls, &Deviations::none().with(READOUT_ERROR, noise)).unwrap()
    };
    let read: Vec<f64> = clean.iter().zip(noise).map(|(share, noise)| share + noise).collect();
    for (pair, read) in values(&thermal(&x)).chunks(2).zip(read.chunks(2)) {
        for (got, want) in pair.iter().zip(read) {
            assert!((got - want / (read[0] + read[1])).abs() < 1e-14, "{got} {want}");
        }
    }
    let dark = x.zeros_like().unwrap();
    assert_eq!(values(&thermal(&dark)), [0.0; 4]);
    check_gradients(&[x], |t| Ok(thermal(&t[0])), &GradientCheck::default()).unwrap();
}

/// Weak light loses what the optical depth says, strong light nothing, half the depth is left at the saturation intensity.
#[test]
fn a_film_bleaches_in_strong_light() {
    let light = |amplitude: f64| {
        Tensor::from_vec(vec![0.6 * amplitude, 0.8 * amplitude], [1, 2, 1, 1]).unwrap()
    };
    let kept = |intensity: f64| {
        let there = saturable_film(&light(intensity.sqrt()), 2.0, 3.0).unwrap();
        let values: Vec<f64> = there.flatten_all().unwrap().to_vec1().unwrap();
        assert!((0.8 * values[0] - 0.6 * values[1]).abs() < 1e-15, "the phase stays");
        energy(&there) / intensity
    };
    assert!((kept(1e-12) - (-2.0f64).exp()).abs() < 1e-12);
    assert!((kept(3.0) - (-1.0f64).exp()).abs() < 1e-14);
    assert!((kept(3e9) - 1.0).abs() < 1e-8);
    for shape in [&[2, 3, 2, 3, 4][..], &[2, 3, 4]] {
        let film = |t: &[Tensor]| saturable_film(&t[0], 1.5, 0.7);
        check_gradients(&[normal(3, shape)], film, &GradientCheck::default()).unwrap();
    }
    let dark = Tensor::zeros([1, 2, 2, 2], DType::F64).unwrap();
    assert_eq!(energy(&saturable_film(&dark, 2.0, 3.0).unwrap()), 0.0);
    for (depth, saturation, says) in [
        (-0.1, 1.0, "optical depth of a film is -0.1, allowed is [0, infinity)"),
        (f64::NAN, 1.0, "optical depth of a film is NaN"),
        (1.0, 0.0, "saturation intensity of a film is 0, allowed is (0, infinity)"),
    ] {
        let error = saturable_film(&dark, depth, saturation).unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        let element = Element::SaturableFilm { depth, saturation };
        let grid = Grid::new(6, 5, 1e-6).unwrap();
        let region = Region { top: 0, left: 0, height: 1, width: 1 };
        let detectors = Detectors::new(grid, &[region]).unwrap();
        let error = Diffractive::new(grid, &[GREEN], &[Element::Mask, element], detectors);
        assert!(error.unwrap_err().to_string().contains(says));
    }
    assert!(saturable_film(&Tensor::zeros([3, 2], DType::F64).unwrap(), 1.0, 1.0).is_err());
}

/// Where the light of a plane wave is after a mask of these turns, a lens and its focal length.
fn focused(wavelengths: &[f64], focal_length_m: f64, turns: impl Fn(f64, f64) -> f64) -> Tensor {
    let grid = Grid::new(64, 64, 10e-6).unwrap();
    let space = FreeSpace::new(grid, focal_length_m, wavelengths).unwrap();
    let elements = [Element::Mask, Element::Lens { focal_length_m }, Element::Space(space)];
    let region = Region { top: 0, left: 0, height: 1, width: 1 };
    let detectors = Detectors::new(grid, &[region]).unwrap();
    let network = Diffractive::new(grid, wavelengths, &elements, detectors).unwrap();
    let mask = Tensor::from_vec(grid.map(turns), [1, 64, 64]).unwrap();
    let wave = Tensor::ones([1, 64, 64], DType::F64).unwrap();
    let controls = Controls::one("phase", mask);
    network.fields(&wave, &controls, &Deviations::none()).unwrap().pop().unwrap()
}

/// The share of the light within two pixels of a place of a field (1, 2, 64, 64).
fn share_around(field: &Tensor, row: usize, column: usize) -> f64 {
    let near = field.narrow(2, row - 2, 5).unwrap().narrow(3, column - 2, 5).unwrap();
    energy(&near) / energy(field)
}

/// A lens focuses a plane wave on the axis at its focal length, and a mask whose phase rises by a turn in 100 um turns it by
/// `wavelength / 100 um`: ten pixels there.
#[test]
fn lenses_focus_and_masks_deflect() {
    let focal = 10.0 * 10e-6 * 100e-6 / GREEN;
    // The main lobe of a square aperture, +-1.5 pixels here, has 81 % of the light.
    assert!(share_around(&focused(&[GREEN], focal, |_, _| 0.3), 32, 32) > 0.8);
    let right = focused(&[GREEN], focal, |_, x| x / 100e-6);
    assert!(share_around(&right, 32, 42) > 0.75, "{}", share_around(&right, 32, 42));
    let up = focused(&[GREEN], focal, |y, _| -y / 100e-6);
    assert!(share_around(&up, 22, 32) > 0.75);
}

/// Each colour of a network of two passes as it does alone, through masks whose relief is fewer turns of the longer wavelength.
#[test]
fn two_colours_are_each_as_if_alone() {
    let (focal, red) = (15e-3, 640e-9); // by the angular spectrum for both
    let relief = |y: f64, x: f64| 0.7 * (3e4 * x).sin() + 1.2 * (2e4 * y).cos();
    let both = focused(&[GREEN, red], focal, relief);
    let of = |colour: usize| both.narrow(1, colour, 1).unwrap().reshape([1, 2, 64, 64]).unwrap();
    let green = focused(&[GREEN], focal, relief);
    let alone = focused(&[red], focal, |y, x| relief(y, x) * GREEN / red);
    for (together, alone) in [(of(0), green), (of(1), alone)] {
        let off = off(&complex(&together), &complex(&alone));
        assert!(off < 1e-12, "{off}");
    }
}

/// Readings below 0 are read as 0, so that shares stay shares whatever the noise.
#[test]
fn noise_does_not_turn_shares_around() {
    let network = network(&[GREEN], true);
    let controls = network.init(&Seed::new(1), DType::F64).unwrap();
    let x = normal(1, &[1, 6, 5]).abs().unwrap();
    for noise in [[-0.9, -0.9], [-0.9, 0.2], [0.1, -3.0]] {
        let noise = Tensor::from_vec(noise.to_vec(), [1, 2]).unwrap();
        let read = Deviations::none().with(READOUT_ERROR, noise);
        let shares = network.forward(&x, &controls, &read).unwrap();
        let shares: Vec<f64> = shares.flatten_all().unwrap().to_vec1().unwrap();
        assert!(shares.iter().all(|share| (0.0..=1.0).contains(share)), "{shares:?}");
        let sum: f64 = shares.iter().sum();
        assert!(sum == 0.0 || (sum - 1.0).abs() < 1e-14, "{shares:?}");
    }
    let bright = x.broadcast_as([2, 6, 5]).unwrap();
    let none = Deviations::none();
    assert!(network.along_axis(&bright, &controls, &none, 5e-6).is_err());
    let error = network.along_axis(&x, &controls, &none, 1e-15).unwrap_err().to_string();
    assert!(error.contains("at most 100,000"), "{error}");
}
