"""Arrays in, numbers out: accuracy, intervals over users, paired tests, calibration, Bradley-Terry."""
