//! Tests of the decoders on recorded answers.
