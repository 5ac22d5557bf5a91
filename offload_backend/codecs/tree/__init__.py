"""The codec for values that JSON does not hold: a safetensors file outside, tagged JSON inside."""
