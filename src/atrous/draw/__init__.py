"""Pictures of records: charts, footprints, graphs of networks, dots and lines; computes nothing."""
