"""What a lab writes: everything but the lines marked 1 to 8 stays as it is.

Here: a linear layer of 8 inputs and 4 outputs whose rings are set by heater currents (pnn_devices::mrr::wdm::WdmBank). Convolutions, several layers, and
what x and y are: docs/hardware-protocol.md.
"""

import numpy as np
from pnn_instrument import Control, serve

# 1: open your instruments here, for example with pyvisa.
heaters, detectors = None, None
# 2: readings without light, and of an input of 1 through a ring of weight 1.
DARK, ONE = 0.0, 1.0


def measure(x, controls, shot):
    milliamp = controls["current"]  # 3: (outputs, inputs), already within the limits below
    # 4: program the heaters, wait until they have settled:  heaters.set(milliamp); time.sleep(0.01)
    readings = []
    for sample in x:  # 5: one shot for each sample of the batch, (inputs,): numbers of the model, as powers in a unit of yours
        # 6: send the sample and read:  lasers.set(sample); readings.append(detectors.read())
        readings.append(np.zeros(milliamp.shape[0]))
    # (batch, outputs), as the model would compute it: weights times inputs, no photocurrents.
    return (np.array(readings) - DARK) / (ONE - DARK)


def cool_down():
    pass  # 7: bring the heaters down and close your instruments; there are 5 s for it (shutdown_timeout_s)


# 8: name, unit, shape and limits of what you set. pnn refuses to start if name, unit or shape are not those of the device that it trains, or
# if there is no setting within the limits of both; otherwise what you get lies within both.
serve("my ring bank", [Control("current", "mA", (4, 8), 0.0, 5.0)], measure, on_shutdown=cool_down)
