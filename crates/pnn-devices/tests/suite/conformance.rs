//! Every bank passes the suite that every device passes.

use crate::common;

use common::{Fano, LINEAR, PARAMETRISATIONS, conv, light};
use pnn_core::Seed;
use pnn_core::layers::Product;
use pnn_core::testing::conformance;
use pnn_devices::mrr::{Lorentzian, MrrBank, TransferFunction};

fn conforms(product: Product, transfer: impl TransferFunction) {
    for parametrisation in PARAMETRISATIONS {
        let bank = MrrBank::new(product, transfer.clone(), parametrisation).unwrap();
        conformance(&bank, &light(product), &Seed::new(3))
            .unwrap_or_else(|e| panic!("{product:?}, {parametrisation:?}: {e}"));
    }
}

#[test]
fn linear_banks_conform() {
    conforms(LINEAR, Lorentzian::default());
    conforms(LINEAR, Lorentzian::new(0.5).unwrap());
}

#[test]
fn convolutions_conform_whatever_their_geometry() {
    for (stride, padding) in [(1, 0), (1, 2), (2, 1), (3, 3)] {
        conforms(conv(stride, padding), Lorentzian::default());
    }
}

#[test]
fn banks_of_a_users_ring_conform() {
    conforms(LINEAR, Fano::RING);
    conforms(conv(2, 1), Fano::RING);
}

/// With one input the usual initialisation asks for weights that no setting gives.
#[test]
fn banks_with_a_single_input_conform() {
    let product = Product::Linear { inputs: 1, outputs: 40 };
    conforms(product, Lorentzian::default());
    conforms(product, Lorentzian::new(2.0).unwrap());
}
