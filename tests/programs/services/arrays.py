"""Numeric work below Python lines."""

import sys
import time

import numpy


def decompose(matrix):
    return numpy.linalg.svd(matrix[:40, :40])


def main():
    matrix = numpy.random.rand(120, 120)
    end = time.time() + float(sys.argv[1])
    while time.time() < end:
        matrix @ matrix
        decompose(matrix)
        numpy.sort(matrix, axis=0)
        time.sleep(0.002)


main()
