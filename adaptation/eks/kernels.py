"""The compiled recursions: Kalman filter, Rauch-Tung-Striebel smoother and ensemble statistics, in float64.

Two filters share one model. `walk_*` is the scalar case, a random walk observed directly, which is what a
single camera needs: 2K independent chains, several values of s in one pass. `filter_states` and
`smooth_states` take any state size, linear or camera observations. Observations are conditionally independent
(the noise is diagonal), so they are taken in one scalar at a time: no matrix is inverted in the filter, and a
missing observation (NaN) is simply skipped.

Compiled code is cached beside this file, or in numba's cache folder where this one cannot be written, or,
where neither can, compiled once per process. The functions release the interpreter lock.

This module imports numba (a third of a second); import it inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from superset_vocab.errors import InputError

try:
    from numba import njit
except ImportError as error:
    raise InputError("smoothing needs numba; pip install 'superanimal-zoo[smooth]'") from error

# With the logarithm taken of this many innovations at a time: 1e-15^16 and 1e15^16 fit into float64.
_LOG_EVERY = 16
# Ratio of innovation variance to noise above which the plain covariance update loses more than six digits.
_EXACT = 1e6
_LOG_2PI = float(np.log(2 * np.pi))


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile with numba, cached on disk where some folder can be written."""
    try:
        return njit(cache=True, nogil=True, error_model="numpy")(function)
    except (
        RuntimeError
    ):  # "no locator available": neither the package's folder nor the user's cache is writable
        return njit(nogil=True, error_model="numpy")(function)


@compiled
def median_of(values, n):
    """Median of the first `n` entries, which it sorts in place."""
    for i in range(1, n):
        value = values[i]
        j = i - 1
        while j >= 0 and values[j] > value:
            values[j + 1] = values[j]
            j -= 1
        values[j + 1] = value
    half = n // 2
    return values[half] if n % 2 else 0.5 * (values[half - 1] + values[half])


@compiled
def member_statistics(keypoints, confidence, take_median, centre, variance, mean_confidence, observers):
    """Centre, population variance, mean confidence and number of the members that observed.

    Args:
        keypoints: (M, T, K, 2), NaN missing.
        confidence: (M, T, K), NaN unknown.
        take_median: Median, else mean.
        centre: (T, K, 2), filled; NaN where no member observed.
        variance: (T, K, 2), filled likewise.
        mean_confidence: (T, K), filled likewise.
        observers: (T, K) int, filled.
    """
    n_members, n_frames, n_keypoints, _ = keypoints.shape
    seen = np.empty((2, n_members))
    for t in range(n_frames):
        for k in range(n_keypoints):
            n, n_confident, total = 0, 0, 0.0
            for m in range(n_members):
                x, y = keypoints[m, t, k, 0], keypoints[m, t, k, 1]
                if np.isfinite(x) and np.isfinite(y):
                    seen[0, n] = x
                    seen[1, n] = y
                    n += 1
                    if np.isfinite(confidence[m, t, k]):
                        total += confidence[m, t, k]
                        n_confident += 1
            observers[t, k] = n
            mean_confidence[t, k] = total / n_confident if n_confident else np.nan
            for c in range(2):
                if n == 0:
                    centre[t, k, c] = np.nan
                    variance[t, k, c] = np.nan
                    continue
                mean = 0.0
                for i in range(n):
                    mean += seen[c, i]
                mean /= n
                spread = 0.0
                for i in range(n):
                    spread += (seen[c, i] - mean) ** 2
                variance[t, k, c] = spread / n
                centre[t, k, c] = median_of(seen[c], n) if take_median else mean


@compiled
def walk_log_likelihoods(observations, noise, steps, start, scales):
    """Log marginal likelihoods of a scalar random walk observed directly, for several process variances.

    Args:
        observations: (T,) NaN missing.
        noise: (T,) observation variance, positive where observed.
        steps: (T,) time since the previous frame; the first is not used.
        start: Mean and variance of the state at the first frame, before its observation.
        scales: (G,) process variances per unit of time.

    Returns:
        (G,) natural logarithms.
    """
    n_scales = scales.shape[0]
    mean = np.full(n_scales, start[0])
    variance = np.full(n_scales, start[1])
    quadratic = np.zeros(n_scales)
    logs = np.zeros(n_scales)
    product = np.ones(n_scales)
    n = 0
    for t in range(observations.shape[0]):
        step = steps[t] if t else 0.0
        y, r = observations[t], noise[t]
        if np.isnan(y):
            for g in range(n_scales):
                variance[g] += step * scales[g]
            continue
        n += 1
        # The loop that the compiler turns into vector instructions: one lane per process variance.
        for g in range(n_scales):
            predicted = variance[g] + step * scales[g]
            total = predicted + r
            gain = predicted / total
            error = y - mean[g]
            quadratic[g] += error * error / total
            product[g] *= total
            mean[g] += gain * error
            variance[g] = gain * r
        if n % _LOG_EVERY == 0:
            for g in range(n_scales):
                logs[g] += np.log(product[g])
                product[g] = 1.0
    return -0.5 * (n * _LOG_2PI + logs + np.log(product) + quadratic)


@compiled
def walk_smooth(observations, noise, steps, start, scale, means, variances):
    """Posterior mean and variance of a scalar random walk observed directly.

    Args:
        observations: (T,) NaN missing.
        noise: (T,) observation variance, positive where observed.
        steps: (T,) time since the previous frame.
        start: Mean and variance of the state at the first frame, before its observation.
        scale: Process variance per unit of time.
        means: (T,), filled.
        variances: (T,), filled.
    """
    n_frames = observations.shape[0]
    mean, variance = start[0], start[1]
    for t in range(n_frames):
        if t:
            variance += steps[t] * scale
        if not np.isnan(observations[t]):
            gain = variance / (variance + noise[t])
            mean += gain * (observations[t] - mean)
            variance = gain * noise[t]
        means[t] = mean
        variances[t] = variance
    for t in range(n_frames - 2, -1, -1):
        step = steps[t + 1] * scale
        predicted = variances[t] + step
        if predicted > 0:
            gain = variances[t] / predicted
            means[t] += gain * (means[t + 1] - means[t])
            # P - gain^2 (P + Q) = gain Q: written so that nothing is subtracted.
            variances[t] = gain * step + gain * gain * variances[t + 1]


@compiled
def project(camera, point, pixel, jacobian):
    """Image of a 3-D point in a camera of OpenCV's model, and its derivative.

    Args:
        camera: (38,) rotation (9, by rows), translation (3), fx, fy, cx, cy, skew, k1, k2, p1, p2, k3 to k6,
            s1 to s4, tilt of the sensor (9, a homography by rows); `calibration.Camera.packed` makes it.
        point: (3,) in the calibration's world.
        pixel: (2,), filled.
        jacobian: (2, 3), filled.
    """
    w0 = camera[0] * point[0] + camera[1] * point[1] + camera[2] * point[2] + camera[9]
    w1 = camera[3] * point[0] + camera[4] * point[1] + camera[5] * point[2] + camera[10]
    w2 = camera[6] * point[0] + camera[7] * point[1] + camera[8] * point[2] + camera[11]
    fx, fy, cx, cy, skew = camera[12], camera[13], camera[14], camera[15], camera[16]
    k1, k2, p1, p2, k3, k4, k5, k6 = (
        camera[17],
        camera[18],
        camera[19],
        camera[20],
        camera[21],
        camera[22],
        camera[23],
        camera[24],
    )
    s1, s2, s3, s4 = camera[25], camera[26], camera[27], camera[28]
    x, y = w0 / w2, w1 / w2
    q = x * x + y * y
    top = 1 + q * (k1 + q * (k2 + q * k3))
    bottom = 1 + q * (k4 + q * (k5 + q * k6))
    radial = top / bottom
    # Derivative with respect to q = r^2.
    slope = ((k1 + q * (2 * k2 + 3 * q * k3)) - radial * (k4 + q * (2 * k5 + 3 * q * k6))) / bottom
    u = x * radial + 2 * p1 * x * y + p2 * (q + 2 * x * x) + q * (s1 + q * s2)
    v = y * radial + p1 * (q + 2 * y * y) + 2 * p2 * x * y + q * (s3 + q * s4)
    du_dx = radial + 2 * x * x * slope + 2 * p1 * y + 6 * p2 * x + 2 * x * (s1 + 2 * q * s2)
    du_dy = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y + 2 * y * (s1 + 2 * q * s2)
    dv_dx = 2 * x * y * slope + 2 * p1 * x + 2 * p2 * y + 2 * x * (s3 + 2 * q * s4)
    dv_dy = radial + 2 * y * y * slope + 6 * p1 * y + 2 * p2 * x + 2 * y * (s3 + 2 * q * s4)
    tilt = camera[29:38]
    depth = tilt[6] * u + tilt[7] * v + tilt[8]
    a = (tilt[0] * u + tilt[1] * v + tilt[2]) / depth
    b = (tilt[3] * u + tilt[4] * v + tilt[5]) / depth
    pixel[0] = fx * a + skew * b + cx
    pixel[1] = fy * b + cy
    for j in range(3):
        dx = (camera[j] - x * camera[6 + j]) / w2
        dy = (camera[3 + j] - y * camera[6 + j]) / w2
        untilted_du = du_dx * dx + du_dy * dy
        untilted_dv = dv_dx * dx + dv_dy * dy
        du = ((tilt[0] - a * tilt[6]) * untilted_du + (tilt[1] - a * tilt[7]) * untilted_dv) / depth
        dv = ((tilt[3] - b * tilt[6]) * untilted_du + (tilt[4] - b * tilt[7]) * untilted_dv) / depth
        jacobian[0, j] = fx * du + skew * dv
        jacobian[1, j] = fy * dv


@compiled
def transition(step, persistence, drift, stationary, scale, factors, process):
    """Transition factors and process covariance over a step of time.

    Coordinate j decays by `persistence[j]` per unit of time. A random walk (1) gains `scale * drift` per
    unit; a stationary AR(1) (below 1) keeps the variance `stationary[j]`, so it gains stationary (1 - a^2).
    """
    n = persistence.shape[0]
    for i in range(n):
        factors[i] = persistence[i] ** step
        for j in range(n):
            process[i, j] = scale * step * drift[i, j]
    for i in range(n):
        process[i, i] += stationary[i] * (1 - factors[i] * factors[i])


@compiled
def joseph(row, gain, total, noise, covariance, scratch):
    """(I - k h) P (I - k h)' + k R k' in place, for a scalar observation h x; gain P h', k = P h' / F."""
    n = row.shape[0]
    for a in range(n):
        share = gain[a] / total
        for b in range(n):
            scratch[a, b] = covariance[a, b] - share * gain[b]
    for a in range(n):
        left = 0.0
        for c in range(n):
            left += scratch[a, c] * row[c]
        for b in range(a + 1):
            covariance[a, b] = (
                scratch[a, b] - left * gain[b] / total + noise * (gain[a] / total) * (gain[b] / total)
            )
            covariance[b, a] = covariance[a, b]


@compiled
def observe(observations, noise, design, base, state, scratch, sums):
    """Take in one frame's observations, one scalar at a time; mean and covariance are updated in place.

    P - k k' F loses all digits where an observation is far more exact than its prediction, and contradictory
    exact observations would then be weighed by rounding errors; Joseph's form, twice the work, is used there.

    `sums` gathers the number of observations, the logarithms of the innovation variances F, the product of
    those whose logarithm is not taken yet, and the squared innovations over F.
    """
    mean, covariance = state
    gain, square = scratch
    n = mean.shape[0]
    count, product, quadratic = 0, sums[2], 0.0
    for i in range(observations.shape[0]):
        y, r = observations[i], noise[i]
        if np.isnan(y):
            continue
        total = r
        error = y - base[i]
        for a in range(n):
            projected = 0.0
            for b in range(n):
                projected += covariance[a, b] * design[i, b]
            gain[a] = projected
            total += design[i, a] * projected
            error -= design[i, a] * mean[a]
        count += 1
        product *= total
        if not 1e-150 < product < 1e150:
            sums[1] += np.log(product)
            product = 1.0
        inverse = 1.0 / total
        quadratic += error * error * inverse
        error *= inverse
        for a in range(n):
            mean[a] += gain[a] * error
        if total > _EXACT * r:
            joseph(design[i], gain, total, r, covariance, square)
            continue
        for a in range(n):
            share = gain[a] * inverse
            for b in range(a + 1):
                covariance[a, b] -= share * gain[b]
                covariance[b, a] = covariance[a, b]
    sums[0] += count
    sums[2] = product
    sums[3] += quadratic


@compiled
def linearise(cameras, point, design, base):
    """Design matrix and offset of all cameras' projections about a point: h(x) ~ base + design x."""
    pixel = np.empty(2)
    for v in range(cameras.shape[0]):
        jacobian = design[2 * v : 2 * v + 2]
        project(cameras[v], point, pixel, jacobian)
        for c in range(2):
            base[2 * v + c] = pixel[c]
            for j in range(3):
                base[2 * v + c] -= jacobian[c, j] * point[j]


@compiled
def filter_states(observations, noise, steps, model, scale, cameras, points, filtered):
    """Kalman filter; extended (linearised at the prediction) where there are cameras.

    Args:
        observations: (T, P) NaN missing.
        noise: (T, P) observation variances.
        steps: (T,) time since the previous frame.
        model: design (P, N), persistence (N,), drift (N, N), stationary (N,), mean (N,) and covariance (N, N)
            of the state at the first frame.
        scale: Multiplies the drift.
        cameras: (V, 38), or (0, 38) for a linear model.
        points: (T, 3) to linearise the cameras about instead of the prediction, or (0, 3).
        filtered: Means (T, N) and covariances (T, N, N), filled; (0, N) and (0, N, N) when the likelihood is
            all that is wanted.

    Returns:
        Log marginal likelihood.
    """
    means, covariances = filtered
    linear_design, persistence, drift, stationary, start_mean, start_covariance = model
    n_frames, n_observed = observations.shape
    n = start_mean.shape[0]
    mean, covariance = start_mean.copy(), start_covariance.copy()
    design, base = linear_design.copy(), np.zeros(n_observed)
    factors, process, scratch = np.ones(n), np.zeros((n, n)), (np.empty(n), np.empty((n, n)))
    last_step = np.nan
    sums = np.array([0.0, 0.0, 1.0, 0.0])
    for t in range(n_frames):
        if t:
            if steps[t] != last_step:
                last_step = steps[t]
                transition(last_step, persistence, drift, stationary, scale, factors, process)
            for a in range(n):
                mean[a] *= factors[a]
                for b in range(n):
                    covariance[a, b] = covariance[a, b] * factors[a] * factors[b] + process[a, b]
        if cameras.shape[0]:
            linearise(cameras, points[t] if points.shape[0] else mean, design, base)
        observe(observations[t], noise[t], design, base, (mean, covariance), scratch, sums)
        if means.shape[0]:
            means[t] = mean
            covariances[t] = covariance
    return -0.5 * (sums[0] * _LOG_2PI + sums[1] + np.log(sums[2]) + sums[3])


@compiled
def factorise(matrix, lower):
    """Cholesky factor of a positive semidefinite matrix; a direction without variance gets a zero column."""
    n = matrix.shape[0]
    largest = 0.0
    for i in range(n):
        largest = max(largest, matrix[i, i])
    for j in range(n):
        pivot = matrix[j, j]
        for k in range(j):
            pivot -= lower[j, k] * lower[j, k]
        lower[j, j] = np.sqrt(pivot) if pivot > 1e-15 * matrix[j, j] and pivot > 1e-300 * largest else 0.0
        for i in range(j + 1, n):
            value = matrix[i, j]
            for k in range(j):
                value -= lower[i, k] * lower[j, k]
            lower[i, j] = value / lower[j, j] if lower[j, j] > 0 else 0.0
            lower[j, i] = 0.0


@compiled
def solve(lower, vector):
    """Solve L L' x = b in place; directions without variance give zero."""
    n = vector.shape[0]
    for i in range(n):
        for k in range(i):
            vector[i] -= lower[i, k] * vector[k]
        vector[i] = vector[i] / lower[i, i] if lower[i, i] > 0 else 0.0
    for i in range(n - 1, -1, -1):
        for k in range(i + 1, n):
            vector[i] -= lower[k, i] * vector[k]
        vector[i] = vector[i] / lower[i, i] if lower[i, i] > 0 else 0.0


@compiled
def smooth_states(steps, persistence, drift, stationary, scale, means, covariances):
    """Rauch-Tung-Striebel smoother: filtered means and covariances become smoothed ones, in place.

    The covariance is built as (I - GA) P (I - GA)' + G Q G' + G V G', a sum of positive terms, so that it
    stays positive where the usual difference loses all digits.
    """
    n_frames, n = means.shape
    factors, process = np.ones(n), np.zeros((n, n))
    predicted, lower = np.empty((n, n)), np.zeros((n, n))
    gain, keep, inner = np.empty((n, n)), np.empty((n, n)), np.empty((n, n))
    difference = np.empty(n)
    last_step = np.nan
    for t in range(n_frames - 2, -1, -1):
        if steps[t + 1] != last_step:
            last_step = steps[t + 1]
            transition(last_step, persistence, drift, stationary, scale, factors, process)
        mean, covariance = means[t], covariances[t]
        for a in range(n):
            difference[a] = means[t + 1, a] - factors[a] * mean[a]
            for b in range(n):
                predicted[a, b] = covariance[a, b] * factors[a] * factors[b] + process[a, b]
        factorise(predicted, lower)
        for a in range(n):  # row a of G solves (A P A' + Q) g = A P e_a
            for b in range(n):
                gain[a, b] = factors[b] * covariance[b, a]
            solve(lower, gain[a])
        for a in range(n):
            for b in range(n):
                mean[a] += gain[a, b] * difference[b]
                keep[a, b] = (1.0 if a == b else 0.0) - gain[a, b] * factors[b]
                inner[a, b] = process[a, b] + covariances[t + 1, a, b]
        sandwich(keep, covariance, gain, inner, predicted)
        covariances[t] = predicted


@compiled
def sandwich(left, first, right, second, result):
    """`result` = L F L' + R S R', exactly symmetric; F and S are symmetric."""
    n = left.shape[0]
    row_left, row_right = np.empty(n), np.empty(n)
    for a in range(n):
        for b in range(n):
            row_left[b] = 0.0
            row_right[b] = 0.0
            for c in range(n):
                row_left[b] += left[a, c] * first[c, b]
                row_right[b] += right[a, c] * second[c, b]
        for b in range(a + 1):
            total = 0.0
            for c in range(n):
                total += row_left[c] * left[b, c] + row_right[c] * right[b, c]
            result[a, b] = total
            result[b, a] = total


@compiled
def project_all(camera, points, pixels, jacobians):
    """`project` of (N, 3) points into (N, 2) pixels and (N, 2, 3) derivatives."""
    for i in range(points.shape[0]):
        project(camera, points[i], pixels[i], jacobians[i])
