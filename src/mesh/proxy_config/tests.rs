//! Tests of the tables and verdicts on recorded answers.
