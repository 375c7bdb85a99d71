"""The sandbox: invented traffic, invented networks, and emulated services that judge whoever asks them."""
